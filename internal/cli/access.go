package cli

import "github.com/spf13/cobra"

func (a *app) accessCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "access", Short: "Say who may read what, and why", Args: noArgs}
	cmd.AddCommand(a.accessCheckCommand())
	return cmd
}
