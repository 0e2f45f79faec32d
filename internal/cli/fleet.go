package cli

import "github.com/spf13/cobra"

func (a *app) fleetCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "fleet", Short: "Inventories of devices, their credentials, made at the factory, and their check before delivery"}
	cmd.AddCommand(a.checkCommand(), a.enrollCommand(), a.passwordsCommand(), a.fleetVerifyCommand())
	return cmd
}
