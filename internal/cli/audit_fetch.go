package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/audit/fetch"
	"github.com/dizuo/dizuo/internal/node/pgpool"
)

func (a *app) auditFetch() *cobra.Command {
	var dsnFile, connect, out, from, to, output string
	var o fetch.Options
	cmd := &cobra.Command{
		Use:   "fetch --dsn-file FILE --out DIR",
		Short: "Take decision logs out of the platform's store, as a folder that verify, export and replay read",
		Long: `Gateways keep their logs for 48 hours; then they are in the platform's store alone. This writes them as the folder that they were: a
folder for each gateway, the signed parts of the policy, and the public keys. Whoever operates the platform runs it; it needs the right to read
the store's log, and changes nothing. The folder appears when it is whole.

FILE holds postgres://dizuo_auditor:PASSWORD@HOST:5432/dizuo?sslmode=verify-full, and behind it the CA of the server as lines of PEM; - reads it
from standard input. With --connect the server is reached by another address, such as that of a port-forward, and still must prove to be HOST.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return usage("-o %s: write json, or leave it out", output)
			}
			var err error
			if o.From, err = optionalTime("--from", from); err != nil {
				return err
			}
			if o.To, err = optionalTime("--to", to); err != nil {
				return err
			}
			if !o.To.IsZero() && !o.To.After(o.From) {
				return usage("--to %s: write a time after --from", to)
			}
			config, err := a.storeConfig(dsnFile, connect)
			if err != nil {
				return err
			}
			conn, err := pgx.ConnectConfig(cmd.Context(), config)
			if err != nil {
				return fmt.Errorf("the platform's store: %w", err)
			}
			defer func() { _ = conn.Close(context.WithoutCancel(cmd.Context())) }()
			o.Progress = a.progress("lines")
			sum, err := fetch.Fetch(cmd.Context(), conn, out, o)
			if err != nil {
				return err
			}
			return a.printFetched(sum, out, output)
		},
	}
	f := cmd.Flags()
	f.StringVar(&dsnFile, "dsn-file", "", "file with the connection string of the store, and its CA; - reads standard input")
	f.StringVar(&connect, "connect", "", "HOST:PORT to connect to instead of the one in the connection string")
	f.StringVar(&out, "out", "", "folder to write; it must not be there, or be empty")
	f.StringVar(&from, "from", "", "begin of the time (RFC 3339); default: all that is kept")
	f.StringVar(&to, "to", "", "end of the time (RFC 3339); default: two minutes ago")
	f.StringArrayVar(&o.Instances, "instance", nil, "name of a chain; repeat it; default: those of all gateways")
	f.StringVarP(&output, "output", "o", "", "json")
	for _, required := range []string{"dsn-file", "out"} {
		_ = cmd.MarkFlagRequired(required)
	}
	return cmd
}

func optionalTime(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, usage("%s %s: write a time such as 2026-03-01T00:00:00+08:00", flag, text)
	}
	return at, nil
}

// storeConfig says how to connect to the platform's store.
func (a *app) storeConfig(file, connect string) (*pgx.ConnConfig, error) {
	var raw []byte
	var err error
	if file == "-" {
		raw, err = io.ReadAll(io.LimitReader(a.In, 64<<10))
	} else {
		raw, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, err
	}
	pool, err := pgpool.Parse(string(raw))
	if err != nil {
		return nil, usage("--dsn-file %s: %v", file, err)
	}
	config := pool.ConnConfig
	config.RuntimeParams = map[string]string{"application_name": "dizuo-audit-fetch", "search_path": "pg_catalog", "timezone": "UTC", "default_transaction_read_only": "on"}
	if connect == "" {
		return config, nil
	}
	host, port, err := net.SplitHostPort(connect)
	if err != nil {
		return nil, usage("--connect %s: write HOST:PORT, such as 127.0.0.1:5432", connect)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, usage("--connect %s: the port is a number", connect)
	}
	config.Host, config.Port = host, uint16(number) // TLS keeps the name of the connection string
	return config, nil
}

// progress tells a person at a terminal how far it is; nil where there is no terminal. unit is what is counted, such as lines.
func (a *app) progress(unit string) func(done, of int64) {
	if _, tty := terminal(a.Err); !tty {
		return nil
	}
	var last time.Time
	return func(done, of int64) {
		if now := a.now(); done >= of || now.Sub(last) > 200*time.Millisecond {
			last = now
			fmt.Fprintf(a.Err, "\r%d of %d %s (%d %%)", done, of, unit, done*100/max(of, 1))
		}
		if done >= of {
			fmt.Fprintln(a.Err)
		}
	}
}

func (a *app) printFetched(sum fetch.Summary, dir, output string) error {
	if output == "json" {
		e := json.NewEncoder(a.Out)
		e.SetIndent("", "  ")
		return e.Encode(sum)
	}
	for _, c := range sum.Chains {
		fmt.Fprintf(a.Out, "chain %s: lines %d to %d, %d checkpoints, %d receipts\n", c.Instance, c.First, c.Last, c.Checkpoints, c.Receipts)
		if c.Erased > 0 {
			fmt.Fprintf(a.Out, "  the records of %d lines were erased\n", c.Erased)
		}
	}
	for _, k := range sum.Keys {
		fmt.Fprintf(a.Out, "key %s %s, %s to %s\n", k.Kind, k.ID, k.FirstSeen.Format(time.RFC3339), k.LastSeen.Format(time.RFC3339))
	}
	if n := len(sum.MissingParts); n > 0 {
		fmt.Fprintf(a.Err, "%d parts of the policy are not in the store: decisions by them cannot be made again\n", n)
	}
	_, err := fmt.Fprintf(a.Out, "%[1]s: %[2]d lists of subjects, %[3]d parts of the policy; whole as of %[4]s (for verify: --as-of %[4]s)\n", dir, sum.SubjectLists, sum.PolicyParts, sum.AsOf.Format(time.RFC3339))
	return err
}
