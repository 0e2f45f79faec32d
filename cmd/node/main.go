// Command node is the data plane: one binary that plays the role its first argument names. It holds no Kubernetes
// credentials and goes on working while the control plane is away.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/auth"
	"github.com/dizuo/dizuo/internal/node/broker"
	"github.com/dizuo/dizuo/internal/node/gateway"
	"github.com/dizuo/dizuo/internal/node/grid"
	"github.com/dizuo/dizuo/internal/node/ingest"
	"github.com/dizuo/dizuo/internal/node/process"
	"github.com/dizuo/dizuo/internal/node/vault"
)

// role runs until its context ends.
type role func(ctx context.Context, cfg contract.NodeConfig, log *slog.Logger) error

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil && !errors.Is(err, context.Canceled) {
		slog.Default().Error("node stopped", "err", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	root := &cobra.Command{Use: "node", Short: "a node of the Dizuo data plane", SilenceUsage: true, SilenceErrors: true}
	config := root.PersistentFlags().String("config", "/etc/dizuo/node.yaml", "configuration file")
	for _, r := range []struct {
		name  contract.Role
		short string
		run   role
	}{
		{contract.RoleBroker, "take devices' messages and keep them (NATS with MQTT)", broker.Run},
		{contract.RoleAuth, "say who a device is and what it may do", auth.Run},
		{contract.RoleGrid, "turn signals into cases and see them handled", grid.Run},
		{contract.RoleGateway, "give data to who may read it", gateway.Run},
		{contract.RoleVault, "keep who a subject is, and do what residents ask for", vault.Run},
		{contract.RoleIngest, "keep what EMQX takes from devices, and what clouds send over HTTPS", ingest.Run},
	} {
		root.AddCommand(&cobra.Command{Use: string(r.name), Short: r.short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			return start(cmd.Context(), *config, r.name, r.run)
		}})
	}
	root.AddCommand(migrate(config))
	return root
}

func start(ctx context.Context, path string, name contract.Role, run role) error {
	cfg, err := process.Load(path)
	if err != nil {
		return err
	}
	if cfg.Role != name {
		return fmt.Errorf("node configuration %s is for the role %s, not %s", path, cfg.Role, name)
	}
	log := slog.Default().With("role", string(name), "platform", cfg.Platform)
	log.Info("starting")
	return run(ctx, cfg, log)
}

// migrate brings the database up to date as its owner, before the role grid starts as a user of less right.
func migrate(config *string) *cobra.Command {
	var passwords string
	cmd := &cobra.Command{Use: "migrate", Short: "bring the database of the role grid up to date", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		cfg, err := process.Load(*config)
		if err != nil {
			return err
		}
		if cfg.Grid == nil {
			return fmt.Errorf("node configuration %s has no section grid", *config)
		}
		of := map[string]string{}
		for _, user := range contract.DatabaseUsers() {
			raw, err := os.ReadFile(filepath.Join(passwords, contract.DatabasePasswordKey(user)))
			if err != nil {
				return fmt.Errorf("password of %s: %w", user, err)
			}
			of[user] = strings.TrimSpace(string(raw))
		}
		owner := cfg.Grid.Database
		owner.User, owner.PasswordFile = cmp.Or(cfg.Grid.DatabaseOwner, contract.DatabaseOwner), filepath.Join(passwords, "owner")
		return grid.Migrate(cmd.Context(), owner, of, slog.Default())
	}}
	cmd.Flags().StringVar(&passwords, "passwords", "/secrets/owner", "folder with a file for the owner and each user")
	return cmd
}
