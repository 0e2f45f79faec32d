package cli

import "github.com/spf13/cobra"

func (a *app) fleetCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "fleet", Short: "Credentials of devices, made at the factory"}
	cmd.AddCommand(a.enrollCommand(), a.passwordsCommand())
	return cmd
}
