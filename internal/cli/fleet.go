package cli

import "github.com/spf13/cobra"

func (a *app) fleetCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "fleet", Short: "Inventories of devices, and their credentials, made at the factory"}
	cmd.AddCommand(a.checkCommand(), a.enrollCommand(), a.passwordsCommand())
	return cmd
}
