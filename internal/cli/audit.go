package cli

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/audit"
	"github.com/dizuo/dizuo/internal/contract"
)

func (a *app) auditCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "Fetch and check decision logs, take what they say about an agreement, decide again, be a witness"}
	cmd.AddCommand(a.auditFetch(), a.auditVerify(), a.auditExport(), a.auditReplay(), a.auditWitness())
	return cmd
}

// auditTrust are the flags by which an auditor says whom to trust.
type auditTrust struct {
	witness, witnessKey, witnessCA, trust, receiptCA, asOf string
	retention                                              time.Duration
	uids                                                   []string
}

func (t *auditTrust) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.witness, "witness", "", "URL of a witness, or a file with what it gave out")
	cmd.Flags().StringVar(&t.witnessKey, "witness-key", "", "public key of the witness: a file, PEM or what `dizuo key public` prints, or the base64 that the GridPlatform has")
	cmd.Flags().StringVar(&t.witnessCA, "witness-ca", "", "PEM file that the witness's certificate is checked against (default: the system's roots)")
	cmd.Flags().StringVar(&t.trust, "trust", "", "PEM file with the keys by which the gateways sign checkpoints")
	cmd.Flags().DurationVar(&t.retention, "retention", audit.LeastRetention, "how long the platform keeps records, as spec.retention.decisionLog of the GridPlatform says; a younger one must be here")
	cmd.Flags().StringVar(&t.asOf, "as-of", "", "time (RFC 3339) up to which every line must be here: the --to of \"dizuo audit fetch\"; default: all that the witness saw")
	cmd.Flags().StringVar(&t.receiptCA, "receipt-ca", "", "PEM file with the platform's CA, for receipts that records were erased before their time")
	cmd.Flags().StringArrayVar(&t.uids, "uid", nil, "UID of the agreement (metadata.uid) that an archive must be of; repeat it for each that the agreement has had")
}

func (t *auditTrust) read(ctx context.Context) (audit.Trust, error) {
	out := audit.Trust{Retention: t.retention, UIDs: t.uids}
	if t.retention < audit.LeastRetention {
		return out, usage("--retention %s: no platform keeps records for less than %s", t.retention, audit.LeastRetention)
	}
	if (t.witness == "") != (t.witnessKey == "") {
		return out, usage("--witness and --witness-key go together: whoever answers for the witness could else write what it likes")
	}
	var err error
	if out.AsOf, err = optionalTime("--as-of", t.asOf); err != nil {
		return out, err
	}
	if t.trust != "" {
		if out.Audit, err = readPublicKeys(t.trust); err != nil {
			return out, err
		}
	}
	if t.receiptCA != "" {
		raw, err := os.ReadFile(t.receiptCA)
		if err != nil {
			return out, err
		}
		if out.Receipts = x509.NewCertPool(); !out.Receipts.AppendCertsFromPEM(raw) {
			return out, usage("--receipt-ca %s: holds no certificate (PEM)", t.receiptCA)
		}
	}
	if t.witness == "" {
		return out, nil
	}
	if out.Witness, err = readPublicKeys(t.witnessKey); err != nil {
		return out, err
	}
	if !strings.HasPrefix(t.witness, "http://") && !strings.HasPrefix(t.witness, "https://") {
		f, err := os.Open(t.witness)
		if err != nil {
			return out, err
		}
		defer func() { _ = f.Close() }()
		out.Seen, err = audit.ReadMarks(f)
		return out, err
	}
	out.Seen, err = askWitness(ctx, t.witness, t.witnessCA)
	return out, err
}

// readPublicKeys reads a file, PEM or one key as base64, or the base64 itself.
func readPublicKeys(text string) (audit.Keys, error) {
	if raw, err := base64.StdEncoding.DecodeString(text); err == nil && len(raw) > 32 {
		return audit.KeysOf(text)
	}
	raw, err := os.ReadFile(text)
	if err != nil {
		return nil, err
	}
	keys, err := audit.ParseKeys(raw)
	if err != nil {
		if one, err := audit.KeysOf(strings.TrimSpace(string(raw))); err == nil {
			return one, nil // as `dizuo key public` prints it
		}
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return keys, nil
}

// maxMarks is how many bytes a witness may answer with: checkpoints of a hundred gateways over some years are less.
const maxMarks = 1 << 30

func askWitness(ctx context.Context, url, ca string) ([]audit.Mark, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if ca != "" {
		raw, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(raw)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("witness %s answers %s", url, resp.Status)
	}
	return audit.ReadMarks(http.MaxBytesReader(nil, resp.Body, maxMarks))
}

// within gives a folder of which no link leads out: whoever could write into a log would else have any file of whoever exports it in the archive.
func within(dir string) (fsys fs.FS, done func(), err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, func() {}, err
	}
	return root.FS(), func() { _ = root.Close() }, nil
}

// openLog gives a folder, or an archive unpacked into a folder that done removes.
func openLog(path string) (fsys fs.FS, archive bool, done func(), err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, false, func() {}, err
	}
	if info.IsDir() {
		fsys, done, err := within(path)
		return fsys, false, done, err
	}
	dir, err := os.MkdirTemp("", "dizuo-audit-*")
	if err != nil {
		return nil, true, func() {}, err
	}
	done = func() { _ = os.RemoveAll(dir) }
	f, err := os.Open(path)
	if err != nil {
		return nil, true, done, err
	}
	defer func() { _ = f.Close() }()
	return os.DirFS(dir), true, done, audit.Extract(f, dir)
}

func (a *app) auditVerify() *cobra.Command {
	var trust auditTrust
	var output string
	cmd := &cobra.Command{
		Use:   "verify DIR|FILE.tar.gz",
		Short: "Prove that a decision log is as it was written",
		Long: `Checks every line of every chain below DIR, or of an archive of "dizuo audit export", against the chain, the
signed checkpoints, and what a witness saw.

Exit code 0: verified: whole, and a witness saw the end.
          5: internally consistent only: nobody outside says that the end was not cut off, or that a record was erased.
          1: broken: something was changed, added, cut off or kept back.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "" && output != "json" {
				return usage("-o %s: write json, or leave it out", output)
			}
			given, err := trust.read(cmd.Context())
			if err != nil {
				return err
			}
			given.Now = a.now()
			fsys, archive, done, err := openLog(args[0])
			defer done()
			if err != nil {
				return err
			}
			var excerpt *audit.Excerpt
			if archive {
				if excerpt, err = audit.ReadExcerpt(fsys); err != nil {
					return err
				}
			}
			report, err := audit.Verify(fsys, given, excerpt, nil)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if output == "json" {
				e := json.NewEncoder(a.Out)
				e.SetIndent("", "  ")
				err = e.Encode(report)
			} else {
				a.printAudit(report, excerpt, given)
			}
			return cmp.Or(err, verdictExit(report.Verdict))
		},
	}
	trust.flags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "", "json")
	return cmd
}

func verdictExit(v audit.Verdict) error {
	switch v {
	case audit.Verified:
		return nil
	case audit.ConsistentOnly:
		return exit{code: ExitConsistentOnly}
	}
	return exit{code: ExitFailed}
}

func (a *app) printAudit(r audit.Report, e *audit.Excerpt, trust audit.Trust) {
	if e != nil {
		fmt.Fprintf(a.Out, "agreement %s, %s to %s\n", e.Agreement, e.From.Format(time.RFC3339), e.To.Format(time.RFC3339))
		fmt.Fprintf(a.Out, "  of UIDs %s", strings.Join(e.UIDs, ", "))
		if len(trust.UIDs) == 0 {
			fmt.Fprint(a.Out, ", as the archive says: compare them, or say --uid")
		}
		fmt.Fprintln(a.Out)
	}
	for _, c := range r.Chains {
		fmt.Fprintf(a.Out, "chain %s: lines %d to %d", c.Instance, c.From+1, c.Sequence)
		if !c.First.IsZero() {
			fmt.Fprintf(a.Out, ", %s to %s", c.First.Format(time.RFC3339), c.Last.Format(time.RFC3339))
		}
		if e != nil {
			fmt.Fprintf(a.Out, "\n  records: of %d lines of the agreement %d are absent; those of the %d other lines are not for here", c.Ours, c.Withheld+c.Erased, c.Lines-c.Ours)
		} else {
			fmt.Fprintf(a.Out, "\n  records: of %d lines %d are absent", c.Lines, c.Absent)
		}
		fmt.Fprintf(a.Out, "\n  checkpoints: %d, the last over line %d", c.Checkpoints, c.Checkpointed)
		if trust.Audit == nil {
			fmt.Fprint(a.Out, " (signatures not checked: no --trust)")
		}
		if !c.AsOf.IsZero() {
			fmt.Fprintf(a.Out, "\n  from the platform's store, as of %s", c.AsOf.Format(time.RFC3339))
		}
		if c.Witnessed > 0 {
			fmt.Fprintf(a.Out, "\n  a witness saw line %d at %s", c.Witnessed, c.WitnessedAt.Format(time.RFC3339))
		}
		fmt.Fprintln(a.Out)
		for _, p := range c.Problems {
			fmt.Fprintln(a.Out, "  PROBLEM "+p)
		}
		for _, n := range c.Notes {
			fmt.Fprintln(a.Out, "  note: "+n)
		}
	}
	for _, p := range r.Problems {
		fmt.Fprintln(a.Out, "PROBLEM "+p)
	}
	fmt.Fprintln(a.Out, map[audit.Verdict]string{
		audit.Verified:       "VERIFIED (已验证)",
		audit.ConsistentOnly: "INTERNALLY CONSISTENT ONLY (仅内部一致)",
		audit.Broken:         "BROKEN (已被改动)",
	}[r.Verdict])
}

func (a *app) auditWitness() *cobra.Command {
	var listen, key, dir, trust, name, cert, certKey string
	cmd := &cobra.Command{
		Use:   "witness --listen ADDR --key FILE --dir DIR --trust FILE",
		Short: "Be a witness: keep checkpoints of decision logs outside the cluster, and give receipts",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			signer, err := readKey(key)
			if err != nil {
				return err
			}
			w := &audit.Witness{Name: name, Key: signer, Dir: dir, Now: a.now, Trust: func() (audit.Keys, error) { return readPublicKeys(trust) }}
			if _, err := w.Trust(); err != nil {
				return err
			}
			if err := w.Load(); err != nil {
				return err
			}
			s := &http.Server{Addr: listen, Handler: w, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
			go func() {
				<-cmd.Context().Done()
				_ = s.Close()
			}()
			fmt.Fprintf(a.Err, "witness %s on %s\n", name, listen)
			if cert == "" {
				err = s.ListenAndServe()
			} else {
				err = s.ListenAndServeTLS(cert, certKey)
			}
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", ":8444", "address to listen on")
	f.StringVar(&key, "key", "", "private key (PEM) that signs receipts, as `dizuo key new` makes it")
	f.StringVar(&dir, "dir", "", "folder that keeps checkpoints and receipts")
	f.StringVar(&trust, "trust", "", "PEM file with the keys by which the gateways sign; it is read again for each checkpoint")
	f.StringVar(&name, "name", "witness", "name of the witness, as in spec.auditWitnesses")
	f.StringVar(&cert, "tls-cert", "", "certificate (PEM); without it HTTP is served, for a proxy in front")
	f.StringVar(&certKey, "tls-key", "", "key of the certificate (PEM)")
	for _, required := range []string{"key", "dir", "trust"} {
		_ = cmd.MarkFlagRequired(required)
	}
	cmd.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	return cmd
}

func (a *app) auditExport() *cobra.Command {
	var agreement, from, to, out, bundleKeys string
	var logs, files []string
	cmd := &cobra.Command{
		Use:   "export --agreement NAME --from TIME --to TIME --log DIR --out FILE.tar.gz",
		Short: "Take all that the logs say of one agreement into one archive",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			e := audit.Excerpt{Agreement: agreement}
			var err error
			if e.From, err = time.Parse(time.RFC3339, from); err != nil {
				return usage("--from %s: write a time such as 2026-03-01T00:00:00+08:00", from)
			}
			if e.To, err = time.Parse(time.RFC3339, to); err != nil || !e.To.After(e.From) {
				return usage("--to %s: write a time after --from, such as 2026-04-01T00:00:00+08:00", to)
			}
			extra := map[string][]byte{}
			if bundleKeys != "" {
				if extra[audit.BundleKeys], err = os.ReadFile(bundleKeys); err != nil {
					return err
				}
			}
			for _, name := range files {
				if extra["agreement/"+filepath.Base(name)], err = os.ReadFile(name); err != nil {
					return err
				}
			}
			var folders []fs.FS
			for _, dir := range logs {
				fsys, done, err := within(dir)
				if err != nil {
					return err
				}
				defer done()
				folders = append(folders, fsys)
			}
			archive, err := audit.Export(folders, e, extra)
			if err != nil {
				return err
			}
			var raw bytes.Buffer
			if err := audit.Write(&raw, archive); err != nil {
				return err
			}
			if err := writeFile(out, raw.Bytes(), false); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Out, "%s: %d files\nsha256 %s\n", out, len(archive), strings.TrimPrefix(contract.Digest(raw.Bytes()), "sha256:"))
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&agreement, "agreement", "", "name of the DataSharingAgreement")
	f.StringVar(&from, "from", "", "begin of the time (RFC 3339)")
	f.StringVar(&to, "to", "", "end of the time (RFC 3339)")
	f.StringArrayVar(&logs, "log", nil, "folder of a gateway's log; repeat it for each gateway")
	f.StringArrayVarP(&files, "filename", "f", nil, "file with the text of the agreement, to go along; may be repeated")
	f.StringVar(&bundleKeys, "bundle-keys", "", "PEM file with the keys by which bundles are signed, to go along; an auditor brings their own")
	f.StringVar(&out, "out", "", "archive to write")
	for _, required := range []string{"agreement", "from", "to", "log", "out"} {
		_ = cmd.MarkFlagRequired(required)
	}
	return cmd
}
