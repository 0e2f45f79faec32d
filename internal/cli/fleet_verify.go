package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/fleetverify"
	"github.com/dizuo/dizuo/internal/offline"
)

type verification struct {
	kube                             kubeFlags
	files                            fileFlags
	connection, connectionSecret     string
	credential                       string
	device, passwordFile, passwords  string
	clientID, address                string
	profile, fleetStatus             string
	payloads                         []string
	offline, dry, allowSignals, full bool
	format, lang                     string
	out                              []string
}

func (a *app) fleetVerifyCommand() *cobra.Command {
	var v verification
	cmd := &cobra.Command{
		Use:   "verify --connection DIR (--credential DIR | --device D --password-file FILE) --profile P [--payload FILE]",
		Short: "Check connection, topics and payloads of a device before it is delivered, and print a report",
		Long: `Connect to a platform as one of the fleet's devices, and report what was proven: TLS versions and the broker's certificate, the
device's certificate, that the device is let in and nobody else in its place, that its own topics are taken and all others refused,
and that sample payloads fit the declared fields, units and ranges. Each check has a stable id, a result (passed, FAILED, not
proven), what was seen, and what to do. --out report.html or report.md writes a document to be filed.

Use a device for tests that has a row with a community: one in store is not admitted. Switch the device itself off meanwhile, for a
second connection cuts off the first. The platform sees all of this as the device: it counts as online, and some eight publishes
outside its permissions are counted in the fleet's violations.

What is sent: one message each to telemetry and state, with the required fields at rest (false, the first word, nearest to 0), ts, and
an id dizuo-verify-...; the same to topics that must be refused. Such a message can still clear an alarm of the device, or be one
where a scenario takes rest for an alarm. --allow-signals also sends to signal and ack; --dry sends nothing; --offline makes no
connection and checks payloads and certificate alone.

An MQTT 3.1.1 broker acknowledges what it drops. That wrong topics were refused is proven by the fleet's count of violations, where
--fleet-status NAMESPACE/NAME may be read; else the report says "not proven". Payloads are those of --payload, one JSON object a line,
as the device sends them: the broker shows nobody, not even this command, what a device sends.

Exit code 0: nothing failed; 1: something failed, or with --strict was not proven.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.verifyFleet(cmd.Context(), &v) },
	}
	v.kube.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&v.connection, "connection", "", "folder with the content of the Secret <fleet>-connection: host, port, ca.crt, ...")
	flags.StringVar(&v.connectionSecret, "connection-secret", "", "the Secret itself, as namespace/name")
	flags.StringVar(&v.credential, "credential", "", "the device's folder from fleet enroll: tls.crt, tls.key, issuer.crt")
	flags.StringVar(&v.device, "device", "", "device id, for passwords")
	flags.StringVar(&v.passwordFile, "password-file", "", "file with the device's password; - for standard input")
	flags.StringVar(&v.passwords, "passwords", "", "passwords as fleet passwords writes them to --out-secrets")
	flags.StringVar(&v.clientID, "client-id", "", "client id that the row binds; default: <fleet>_<device>")
	flags.StringVar(&v.address, "address", "", "host:port to connect to instead, such as a forwarded port; the certificate is still checked for the connection's host")
	flags.StringVar(&v.profile, "profile", "", "DeviceProfile: of the files of -f, else of the catalogue; default: the fleet's, or the only one, of the files")
	flags.StringArrayVarP(&v.files.paths, "filename", "f", nil, "file or folder with the DeviceProfile and the DeviceFleet; may be repeated")
	flags.BoolVarP(&v.files.recursive, "recursive", "R", false, "go into folders of folders")
	flags.StringArrayVar(&v.payloads, "payload", nil, "sample payloads, one JSON object a line; may be repeated")
	flags.StringVar(&v.fleetStatus, "fleet-status", "", "DeviceFleet whose count of violations proves refusals, as namespace/name")
	flags.BoolVar(&v.offline, "offline", false, "make no connection")
	flags.BoolVar(&v.dry, "dry", false, "publish nothing")
	flags.BoolVar(&v.allowSignals, "allow-signals", false, "also publish to signal and ack")
	flags.BoolVar(&v.full, "strict", false, "exit code 1 also if something was not proven")
	flags.StringArrayVar(&v.out, "out", nil, "write the report to a file, by its ending .html, .md or .json; may be repeated")
	flags.StringVarP(&v.format, "output", "o", "", "json or yaml")
	flags.StringVar(&v.lang, "lang", "", "zh or en; default: by LC_ALL and LANG")
	cmd.MarkFlagsMutuallyExclusive("connection", "connection-secret")
	cmd.MarkFlagsMutuallyExclusive("credential", "passwords", "password-file")
	cmd.MarkFlagsMutuallyExclusive("credential", "device")
	return cmd
}

func (a *app) verifyFleet(ctx context.Context, v *verification) error {
	words, err := a.words(v.lang)
	if err != nil {
		return err
	}
	language := fleetverify.Language(words.index)
	for _, path := range v.out {
		if !strings.Contains(" .html .md .json ", " "+filepath.Ext(path)+" ") {
			return usage("--out %s: write a file that ends in .html, .md or .json", path)
		}
	}
	if _, err := printAs(io.Discard, v.format, nil); err != nil {
		return err
	}
	o := fleetverify.Options{Dial: v.address, Offline: v.offline, Dry: v.dry, AllowSignals: v.allowSignals, Tool: version(), Now: a.now,
		Progress: func(t fleetverify.Text) { fmt.Fprintln(a.Err, "# "+t.In(language)) }}
	if err := a.verifyInputs(ctx, v, &o); err != nil {
		return err
	}
	report, err := fleetverify.Run(ctx, o)
	if err != nil {
		return err
	}
	if err := writeReports(v.out, report, language); err != nil {
		return err
	}
	if printed, err := printAs(a.Out, v.format, report); err != nil {
		return err
	} else if !printed {
		printVerification(a.Out, report, language)
	}
	if report.Failed > 0 || v.full && report.NotProven > 0 {
		return exit{ExitFailed, nil}
	}
	return nil
}

// verifyInputs reads what the flags name.
func (a *app) verifyInputs(ctx context.Context, v *verification, o *fleetverify.Options) (err error) {
	switch {
	case v.connection != "" || v.connectionSecret != "":
		if err := a.verifyConnection(ctx, v, o); err != nil {
			return err
		}
	case !v.offline:
		return usage("write --connection DIR or --connection-secret NAMESPACE/NAME, or --offline")
	}
	if o.Profile, o.PayloadBytes, err = a.verifyProfile(ctx, v, o.Connection.Fleet); err != nil {
		return err
	}
	for _, path := range v.payloads {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		samples, err := fleetverify.ReadSamples(filepath.Base(path), bytes.NewReader(raw))
		if err != nil {
			return err
		}
		o.Samples = append(o.Samples, samples...)
	}
	switch {
	case o.Profile == nil && len(o.Samples) > 0:
		return usage("--payload: write --profile too, or the file of the DeviceProfile with -f")
	case o.Profile == nil && !v.dry && !v.offline:
		return usage("write --profile, or the file of the DeviceProfile with -f; or --dry, which publishes nothing")
	case v.fleetStatus == "":
		return nil
	}
	o.Counter, err = v.counter(o.Connection.Fleet)
	return err
}

// verifyConnection reads the connection and the device's credential.
func (a *app) verifyConnection(ctx context.Context, v *verification, o *fleetverify.Options) error {
	data, source, err := map[string][]byte{}, v.connection, error(nil)
	if v.connectionSecret != "" {
		source = "Secret " + v.connectionSecret
		data, err = a.secret(ctx, &v.kube, v.connectionSecret)
	} else {
		for _, key := range []string{"host", "port", "method", "topicPrefix", "uriPrefix", "ca.crt"} {
			raw, failure := os.ReadFile(filepath.Join(v.connection, key))
			if failure != nil && !errors.Is(failure, os.ErrNotExist) {
				return failure
			}
			data[key] = raw
		}
	}
	if err != nil {
		return err
	}
	if o.Connection, err = fleetverify.ParseConnection(data); err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	o.Device, err = a.verifyDevice(v, o.Connection)
	o.Device.ClientID = v.clientID
	return err
}

func (a *app) verifyDevice(v *verification, c fleetverify.Connection) (fleetverify.Device, error) {
	if c.Method == string(v1alpha1.FleetIdentityPassword) {
		if v.device == "" {
			return fleetverify.Device{}, usage("fleet %s is of type Password: write --device, and --password-file or --passwords", c.Fleet)
		}
		password, err := a.devicePassword(v)
		return fleetverify.Device{Name: v.device, Password: password}, err
	}
	if v.credential == "" {
		return fleetverify.Device{}, usage("fleet %s is of type X509: write --credential DIR, a folder that `dizuo fleet enroll` made", c.Fleet)
	}
	var files [3][]byte
	for i, name := range []string{"tls.crt", "tls.key", "issuer.crt"} {
		var err error
		if files[i], err = os.ReadFile(filepath.Join(v.credential, name)); err != nil {
			return fleetverify.Device{}, err
		}
	}
	d, err := fleetverify.NewCertificate(c, files[0], files[1], files[2])
	if err != nil {
		err = fmt.Errorf("%s: %w", v.credential, err)
	}
	return d, err
}

// devicePassword reads a password from a file or standard input, never from the command line, which others on the machine can see.
func (a *app) devicePassword(v *verification) (string, error) {
	switch {
	case v.passwords != "":
		t, err := readTable(v.passwords)
		if err != nil {
			return "", err
		}
		device, err1 := t.column("device")
		password, err2 := t.column("password")
		if err := errors.Join(err1, err2); err != nil {
			return "", err
		}
		for _, row := range t.rows {
			if row[device] == v.device {
				return row[password], nil
			}
		}
		return "", fmt.Errorf("%s: no row of device %s", v.passwords, v.device)
	case v.passwordFile == "-":
		raw, err := io.ReadAll(io.LimitReader(a.In, 4096))
		return strings.TrimRight(string(raw), "\r\n"), err
	case v.passwordFile != "":
		raw, err := os.ReadFile(v.passwordFile)
		return strings.TrimRight(string(raw), "\r\n"), err
	case v.offline:
		return "", nil
	}
	return "", usage("write --password-file FILE (- for standard input) or --passwords FILE")
}

// verifyProfile finds the profile that the flags mean, and the fleet's limit of a payload; nil if they mean none.
func (a *app) verifyProfile(ctx context.Context, v *verification, fleet string) (*fleetverify.Profile, int, error) {
	profiles, fleets := map[string]*v1alpha1.DeviceProfile{}, map[string]*v1alpha1.DeviceFleet{}
	if len(v.files.paths) > 0 {
		set, err := offline.Load(ctx, a.source(&v.files), "default")
		if err != nil {
			return nil, 0, err
		}
		for _, o := range set.Objects {
			switch typed := o.Object.(type) {
			case *v1alpha1.DeviceProfile:
				if o.Invalid {
					return nil, 0, fmt.Errorf("DeviceProfile %s is not valid; see `dizuo lint`", typed.Name)
				}
				profiles[typed.Name] = typed
			case *v1alpha1.DeviceFleet:
				fleets[typed.Name] = typed
			}
		}
	}
	name, limit := v.profile, 0
	if f := fleets[fleet]; f != nil {
		name = either(name, f.Spec.ProfileRef.Name)
		limit = int(f.Spec.Limits.PayloadBytes)
	}
	if name == "" && len(profiles) == 1 {
		name = sortedKeys(profiles)[0]
	}
	if name == "" {
		return nil, limit, nil
	}
	p := profiles[name]
	if p == nil {
		catalogue, err := offline.Catalog()
		if err != nil {
			return nil, 0, err
		}
		if p = catalogue.Profiles[name]; p == nil {
			return nil, 0, fmt.Errorf("DeviceProfile %s is neither in the files nor in the catalogue (%s)", name, strings.Join(sortedKeys(catalogue.Profiles), ", "))
		}
	}
	plan, problems := compile.Profile(&compile.Snapshot{}, p)
	if len(problems) > 0 {
		return nil, 0, fmt.Errorf("DeviceProfile %s: %s: %s", name, problems[0].Field, problems[0].Message)
	}
	return &fleetverify.Profile{Name: name, SchemaVersion: p.Spec.SchemaVersion, Profile: plan.Document}, limit, nil
}

// counter reads the count of violations from the fleet's status.
func (v *verification) counter(fleet string) (fleetverify.Counter, error) {
	at, err := namespaced("--fleet-status", v.fleetStatus)
	if err != nil {
		return nil, err
	}
	if at.Name != fleet {
		return nil, usage("--fleet-status %s: the connection is of fleet %s", v.fleetStatus, fleet)
	}
	c, _, err := v.kube.connect()
	return fleetStatus{c, at}, err
}

// fleetStatus is the status of a DeviceFleet in the cluster.
type fleetStatus struct {
	client client.Client
	at     types.NamespacedName
}

// Violations implements fleetverify.Counter.
func (s fleetStatus) Violations(ctx context.Context) (int64, error) {
	var f v1alpha1.DeviceFleet
	if err := s.client.Get(ctx, s.at, &f); err != nil {
		return 0, fmt.Errorf("DeviceFleet %s: %w", s.at, err)
	}
	return f.Status.Violations, nil
}

// Engine implements fleetverify.Counter: who may not read the platform does not know it.
func (s fleetStatus) Engine(ctx context.Context) string {
	var f v1alpha1.DeviceFleet
	var p v1alpha1.GridPlatform
	if s.client.Get(ctx, s.at, &f) != nil || f.Status.Platform == nil ||
		s.client.Get(ctx, types.NamespacedName{Namespace: f.Status.Platform.Namespace, Name: f.Status.Platform.Name}, &p) != nil {
		return ""
	}
	return either(string(p.Spec.Broker.Engine), string(v1alpha1.BrokerNATS))
}
