package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) webhookCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "webhook", Short: "Tools for those who receive cases"}
	var addr, file, dir string
	var answers answerFlags
	receive := &cobra.Command{
		Use:   "receive --addr :8080 (--secret-file FILE | --secret-dir DIR)",
		Short: "Receive cases, check their signatures and log them",
		Long: `Receive CloudEvents as an organisation's webhook, check their signature (Standard Webhooks), and print each as a line of JSON.
A good one is answered 200, any other 401. GET /received gives the last 1000; GET /healthz answers 200. With --secret-dir the
first segment of the path, /NAME, picks the secret file NAME, so that one receiver serves several organisations. Secrets are
read again for each event. It is a tool for trials: put it behind TLS elsewhere.

With --answer it is a whole receiver: it takes the actions on every case that it is called to, over the API of the grid service, with
the organisation's client certificate. While the service cannot be reached it answers 503, so the event comes again; each action
is taken once.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, err := answers.answerer()
			if err != nil {
				return err
			}
			r := &receiver{file: file, dir: dir, log: a.Out, now: a.now, answer: answer}
			listener, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", addr)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Err, "# receiving on %s\n", listener.Addr())
			return serve(cmd.Context(), listener, r.handler())
		},
	}
	receive.Flags().StringVar(&addr, "addr", ":8080", "address to listen on")
	receive.Flags().StringVar(&file, "secret-file", "", "file with the secret (whsec_...)")
	receive.Flags().StringVar(&dir, "secret-dir", "", "folder with a secret file per organisation")
	answers.add(receive)
	receive.MarkFlagsOneRequired("secret-file", "secret-dir")
	receive.MarkFlagsMutuallyExclusive("secret-file", "secret-dir")
	cmd.AddCommand(receive)
	return cmd
}

// serve runs a server until the context ends, and lets requests under way finish.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 15 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := server.Shutdown(grace)
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
