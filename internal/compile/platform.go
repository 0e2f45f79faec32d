package compile

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// PlatformPlan is what a GridPlatform becomes.
type PlatformPlan struct {
	Document contract.Platform
	// Profiles and Scenarios of the catalogue that run on this platform.
	Profiles  map[string]contract.Profile
	Scenarios map[string]contract.Scenario
	// Spec with the release's images filled in; the components are rendered from it.
	Name, Namespace string
	Spec            v1alpha1.GridPlatformSpec
	// Brokers, Replicas by service and Database say how the stack stands.
	Brokers  BrokerPlan
	Replicas map[v1alpha1.ComponentName]int32
	Database DatabasePlan
	// EMQX is nil where devices connect to NATS.
	EMQX *EMQXPlan
	// Edges says that the platform has edge nodes: without one no door is open for them.
	Edges bool
	// Clouds says that clouds of vendors or carriers speak for fleets.
	Clouds bool
	// BackupPlugin says that CloudNativePG's plugin for backups is installed.
	BackupPlugin bool
	// Monitoring says what is made for prometheus-operator.
	Monitoring MonitoringPlan
	// Guardrails of the city's own.
	Guardrails GuardrailPlan
	// Secrets that are made once and then kept.
	Secrets []GeneratedSecret
	// WebhookSecrets by organisation, and credentials of integrations by contract.IntegrationFile.
	WebhookSecrets map[string][]byte
	// SourceDSNs are connection strings of providers' databases, by dataset.
	SourceDSNs map[string][]byte
	// TrustPEM are the public keys whose bundles nodes take; empty until cert-manager has issued the signing key.
	TrustPEM []byte
	// Successions say which key followed which, signed: for edge nodes.
	Successions []string
}

// Ingests says that messages come in other ways than over NATS, which the role ingest takes.
func (p PlatformPlan) Ingests() bool { return p.EMQX != nil || p.Clouds }

// CloudPort is where clouds reach the platform, at the host of MQTTEndpoint where it has a name.
const CloudPort = 8445

// ServiceClouds names the Service in front of what takes messages of clouds.
const ServiceClouds = "dizuo-clouds"

// CloudEndpoint gives the URL to which the cloud of a fleet posts messages.
func CloudEndpoint(p *v1alpha1.GridPlatform, fleet string) string {
	host := ServiceClouds + "." + p.Namespace + ".svc"
	if len(p.Spec.Broker.Hostnames) > 0 {
		host = p.Spec.Broker.Hostnames[0]
	}
	return fmt.Sprintf("https://%s:%d%s", host, CloudPort, strings.ReplaceAll(contract.IngestPath, "{fleet}", fleet))
}

// GeneratedSecret is a Secret of random values that is made once: losing it would lose what it opens.
type GeneratedSecret struct {
	Name string
	Data map[string][]byte
}

// Names of Secrets and ConfigMaps in the platform's namespace that more than one part knows.
const (
	SecretDatabase  = "dizuo-database"
	SecretCallout   = "dizuo-auth-callout"
	SecretPseudonym = "dizuo-pseudonym"
	// SecretVault holds the key under which the keys of subjects lie.
	SecretVault    = "dizuo-vault"
	SecretWebhooks = "dizuo-webhooks"
	SecretSources  = "dizuo-sources"
	SecretSigning  = "dizuo-bundle-signing"
	// SecretHeld is the operator's copy of the key that signs now, from which the next one takes over.
	SecretHeld      = "dizuo-bundle-signing-held"
	SecretAudit     = "dizuo-audit-signing"
	SecretOperator  = "dizuo-operator-tls"
	SecretBrokerTLS = "dizuo-broker-tls"
	// SecretEdges holds the CA under which edge nodes get certificates.
	SecretEdges = "dizuo-edges"
)

// GeneratedSecrets lists the Secrets of a platform whose values gather reads or makes up, with the keys of each.
func GeneratedSecrets(p *v1alpha1.GridPlatform) map[types.NamespacedName][]string {
	in := func(name string) types.NamespacedName {
		return types.NamespacedName{Namespace: p.Namespace, Name: name}
	}
	out := map[types.NamespacedName][]string{
		in(SecretDatabase):  append(databaseKeys(), "owner"),
		in(SecretCallout):   {"seed", "public"},
		in(SecretPseudonym): {"key"},
		in(SecretVault):     {"key"},
	}
	if UsesEMQX(p) {
		out[in(SecretEMQX)] = []string{"key", "secret", "dashboard"}
	}
	return out
}

// databaseKeys gives the keys of the passwords of all users but the owner, who may have a Secret of their own.
func databaseKeys() []string {
	var out []string
	for _, user := range contract.DatabaseUsers() {
		out = append(out, contract.DatabasePasswordKey(user))
	}
	return out
}

// MQTTEndpoint gives host and port at which devices reach the broker.
func MQTTEndpoint(p *v1alpha1.GridPlatform) (string, int32) {
	if len(p.Spec.Broker.Hostnames) > 0 {
		return p.Spec.Broker.Hostnames[0], p.Spec.Broker.Listener.Port
	}
	return "dizuo-broker." + p.Namespace + ".svc", p.Spec.Broker.Listener.Port
}

// EdgeEndpoint gives the URL at which edge nodes reach the broker.
func EdgeEndpoint(p *v1alpha1.GridPlatform) string {
	host := "dizuo-edge." + p.Namespace + ".svc"
	if len(p.Spec.Broker.Hostnames) > 0 {
		host = p.Spec.Broker.Hostnames[0]
	}
	return "wss://" + net.JoinHostPort(host, strconv.Itoa(int(p.Spec.Broker.LeafListener.Port)))
}

// Platform compiles a GridPlatform; s.Platform is the object itself.
func Platform(s *Snapshot) (PlatformPlan, Problems) {
	var c problems
	o := s.Platform
	if first := platformIn(s.Platforms, o.Namespace); first != nil && first.Name != o.Name {
		c.waiting(v1alpha1.ConditionAccepted, v1alpha1.ReasonPlatformExists, "metadata.namespace",
			fmt.Sprintf("namespace %s already holds GridPlatform %s; a namespace holds at most one", o.Namespace, first.Name))
	}
	checkPlatformServed(&c, o)
	checkAdmission(&c, s)
	plan := PlatformPlan{
		Name: o.Name, Namespace: o.Namespace, Spec: *o.Spec.DeepCopy(),
		Document: contract.Platform{Name: o.Name, Namespace: o.Namespace, DisplayName: o.Spec.DisplayName, TimeZone: o.Spec.TimeZone, SLA: sla(o), Retention: retention(o.Spec.Retention), Calendar: calendar(o), Modes: modes(o), OIDC: oidcIssuers(o)},
		Profiles: map[string]contract.Profile{}, Scenarios: map[string]contract.Scenario{}, WebhookSecrets: map[string][]byte{},
	}
	if bad := o.Spec.Ratings.BadScore; bad != nil {
		plan.Document.BadScore = int(*bad)
	}
	if _, err := time.LoadLocation(o.Spec.TimeZone); err != nil {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.timeZone", fmt.Sprintf("%q is not an IANA time zone such as Asia/Shanghai", o.Spec.TimeZone))
	}
	checkCalendar(&c, o)
	images(&plan.Spec.Images, s.Images)
	checkReplicas(&c, s)
	checkIngestAge(&c, o, plan.Document.Retention)
	plan.Brokers, plan.Database, plan.Monitoring = brokers(s), database(&c, s), monitoring(&c, s)
	plan.EMQX, plan.Edges, plan.Clouds = emqx(&c, s), len(s.Edges) > 0, s.Clouds
	plan.Guardrails = guardrailPlan(s)
	plan.BackupPlugin = !slices.Contains(s.MissingAPIs, GroupBarman)
	plan.Replicas = replicas(s, plan.Database.Moving())
	catalogue(&c, s, &plan)
	for name, keys := range GeneratedSecrets(o) {
		plan.Secrets = append(plan.Secrets, GeneratedSecret{Name: name.Name, Data: pick(s.Generated[name], keys)})
	}
	slices.SortFunc(plan.Secrets, func(a, b GeneratedSecret) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	webhookSecrets(s, &plan)
	exchanged, credentials := integrations(&c, s)
	plan.Document.Integrations = exchanged
	maps.Copy(plan.WebhookSecrets, credentials)
	plan.SourceDSNs, _ = sourceDSNs(s)
	plan.TrustPEM = trust(&c, s)
	if b := s.Platform.Status.Bundle; b != nil {
		plan.Successions = b.Successions
	}
	audited(s, &plan)
	return plan, c.list
}

// trust gives the keys whose bundles nodes take, as PEM: those of the status, and the one of the bundle signing certificate, which is
// trusted before it signs. Nothing until it is issued.
func trust(c *problems, s *Snapshot) []byte {
	var keys []byte
	if b := s.Platform.Status.Bundle; b != nil {
		for _, key := range b.Keys {
			keys = append(keys, key.PublicKey...)
		}
	}
	block, _ := pem.Decode(s.Secrets[types.NamespacedName{Namespace: s.Platform.Namespace, Name: SecretSigning}]["tls.crt"])
	if block == nil {
		return keys
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		c.waiting(v1alpha1.ConditionCertificatesReady, v1alpha1.ReasonSecretInvalid, "", "Secret "+SecretSigning+" holds no certificate")
		return keys
	}
	issued := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: cert.RawSubjectPublicKeyInfo})
	if bytes.Contains(keys, issued) {
		return keys
	}
	return append(keys, issued...)
}

// checkPlatformServed refuses what this version cannot run.
func checkPlatformServed(c *problems, o *v1alpha1.GridPlatform) {
	unserved := map[string]bool{
		"spec.pki.issuerRef": o.Spec.PKI != nil && o.Spec.PKI.IssuerRef != nil,
	}
	checkMemberSchemas(c, o)
	for _, field := range slices.Sorted(maps.Keys(unserved)) {
		if unserved[field] {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonDisabled, field, "is not served by this version; leave it out")
		}
	}
}

// checkAdmission asks for what the platform cannot stand up without: Secrets of its own namespace, and cert-manager.
func checkAdmission(c *problems, s *Snapshot) {
	ns := s.Platform.Namespace
	if s.Namespaces[ns].SecretsRefused {
		c.waiting(v1alpha1.ConditionSecretsAdmitted, v1alpha1.ReasonSecretNotAdmitted, "metadata.namespace",
			fmt.Sprintf("Dizuo may not keep Secrets in namespace %s: its owner admits it with `dizuo admit %s`", ns, ns))
	}
	c.requires(s, GroupCertManager, "", "which issues every certificate")
}

// noteSecondsC3 is for how long notes of class C3 are kept at most, unless the platform says otherwise.
const noteSecondsC3 = 720 * 3600

// signalSecondsC2 is the same of signals of class C2 and of what is graver.
const signalSecondsC2 = 720 * 3600

// retention gives what services need of it: commands are kept as cases are.
func retention(r v1alpha1.RetentionSpec) contract.Retention {
	out := contract.Retention{
		CommandSeconds: int64(r.Cases.Seconds()), NoteSeconds: int64(r.Attachments.Seconds()), DeliverySeconds: int64(r.Deliveries.Seconds()),
		SignalSeconds: int64(r.Signals.Seconds()), DecisionLogSeconds: int64(r.DecisionLog.Seconds()),
	}
	if out.NoteSeconds > noteSecondsC3 {
		out.NoteClasses = map[string]int64{string(v1alpha1.DataClassC3): noteSecondsC3}
	}
	if out.SignalSeconds > signalSecondsC2 {
		out.SignalClasses = map[string]int64{string(v1alpha1.DataClassC2): signalSecondsC2, string(v1alpha1.DataClassC3): signalSecondsC2}
	}
	for _, c := range r.Classes {
		if c.Signals != nil {
			if out.SignalClasses == nil {
				out.SignalClasses = map[string]int64{}
			}
			out.SignalClasses[string(c.Class)] = int64(c.Signals.Seconds())
		}
		if c.Cases != nil {
			if out.CommandClasses == nil {
				out.CommandClasses = map[string]int64{}
			}
			out.CommandClasses[string(c.Class)] = int64(c.Cases.Seconds())
		}
		if c.Attachments != nil {
			if out.NoteClasses == nil {
				out.NoteClasses = map[string]int64{}
			}
			out.NoteClasses[string(c.Class)] = int64(c.Attachments.Seconds())
		}
	}
	return out
}

// checkIngestAge tells where the ingest log keeps messages longer than signals of their class may be kept: it has one age for all.
func checkIngestAge(c *problems, o *v1alpha1.GridPlatform, r contract.Retention) {
	age := o.Spec.Broker.Ingest.MaxAge.Duration
	for _, class := range []v1alpha1.DataClass{v1alpha1.DataClassC3, v1alpha1.DataClassC2, v1alpha1.DataClassC1, v1alpha1.DataClassC0} {
		if kept := time.Duration(r.SignalsOf(0, string(class))) * time.Second; kept > 0 && age > kept {
			c.partial(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.broker.ingest.maxAge",
				fmt.Sprintf("keeps messages of every class for %s, but spec.retention keeps signals of class %s for %s: write %s or less", age, class, kept, kept))
		}
	}
}

func sla(o *v1alpha1.GridPlatform) map[contract.Severity]contract.SLA {
	out := slaOf(v1alpha1.DefaultSLA())
	maps.Copy(out, slaOf(o.Spec.SLA))
	return out
}

func images(spec *v1alpha1.ImageSpec, release Images) {
	if spec.Node == "" {
		spec.Node = release.Node
	}
	if spec.Postgres == "" {
		spec.Postgres = release.Postgres
	}
	if spec.PullPolicy == "" {
		spec.PullPolicy = v1alpha1.PullIfNotPresent
	}
}

// catalogue takes the shipped scenarios that run here, and every shipped profile: profiles cost nothing and fleets name them.
func catalogue(c *problems, s *Snapshot, plan *PlatformPlan) {
	for name, p := range s.Catalog.Profiles {
		if _, own := s.Profiles.Get(name); !own {
			compiled, _ := Profile(&Snapshot{}, p)
			plan.Profiles[name] = compiled.Document
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Catalog.Scenarios)) {
		if _, own := s.Scenarios.Get(name); own {
			continue
		}
		compiled, wrong := Scenario(s, s.Catalog.Scenarios[name])
		for _, w := range wrong { // what keeps one scenario from running must not keep the platform from it
			w.Field, w.Message = "spec.scenarios", "scenario "+name+" does not run: "+w.Text()
			w.Condition, w.Partial = v1alpha1.ConditionReferencesResolved, true
			c.list = append(c.list, w)
		}
		if compiled.Running && !wrong.Fatal() {
			plan.Scenarios[name] = compiled.Document
		}
	}
	unknownScenarios(c, s, "spec.scenarios", s.Platform.Spec.Scenarios)
	for i, m := range s.Platform.Spec.Modes {
		unknownScenarios(c, s, fmt.Sprintf("spec.modes[%d].scenarios", i), m.Scenarios)
	}
}

func webhookSecrets(s *Snapshot, plan *PlatformPlan) {
	for name := range s.Organizations {
		o, _ := s.Organizations.Get(name)
		compiled, _ := Organization(s, o)
		if len(compiled.WebhookSecret) > 0 {
			plan.WebhookSecrets[name] = compiled.WebhookSecret
		}
	}
}

func pick(data map[string][]byte, keys []string) map[string][]byte {
	out := map[string][]byte{}
	for _, k := range keys {
		out[k] = data[k]
	}
	return out
}
