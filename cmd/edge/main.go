// Command edge is an edge node: it takes the messages of a community's devices, keeps them, and brings them to the platform, however
// long the line between was cut.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/node/edge"
)

// memory is what the garbage collector aims at, in bytes, unless GOMEMLIMIT says otherwise: the machines are small.
const memory = 48 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil && !errors.Is(err, context.Canceled) {
		slog.Default().Error("edge node stopped", "err", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	root := &cobra.Command{Use: "edge", Short: "an edge node of Dizuo", SilenceUsage: true, SilenceErrors: true}
	config := root.PersistentFlags().String("config", "/etc/dizuo/edge.yaml", "configuration file")
	run := &cobra.Command{Use: "run", Short: "serve devices and bring their messages to the platform", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := edge.Load(*config)
			if err != nil {
				return err
			}
			log := slog.Default().With("edge", cfg.Edge, "platform", cfg.Platform)
			log.Info("starting")
			return edge.Run(cmd.Context(), cfg, log)
		}}
	key := &cobra.Command{Use: "key", Short: "print the fingerprint of this node's key, as EdgeNode.spec.keyFingerprint takes it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := edge.Load(*config)
			if err != nil {
				return err
			}
			fingerprint, err := edge.Fingerprint(cfg.StateDir)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), fingerprint)
			return err
		}}
	root.AddCommand(run, key)
	return root
}
