package offline

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// Options of a compilation.
type Options struct {
	// Now is the time for which is compiled: validities of agreements depend on it.
	Now time.Time
	// Images of the release.
	Images compile.Images
	// Catalog of the release; see Catalog.
	Catalog compile.Catalog
	// MissingAPIs are API groups of other projects that are taken as not served; none means that all are.
	MissingAPIs []string
}

// Platform is a GridPlatform with its members.
type Platform struct {
	Object   *Object
	Snapshot *compile.Snapshot
	// Plan of the platform itself.
	Plan compile.PlatformPlan
	// Members in the order of kind, namespace and name.
	Members []*Member
	// Fatal is set when the platform does not compile.
	Fatal bool
	// Notes say which placeholders stand for what only the cluster has, sorted. Missing are those of them about Secrets that
	// the files name and do not hold.
	Notes, Missing []string
}

// Member is an object of a platform with what it compiles to.
type Member struct {
	*Object
	// Plan is a compile.CommunityPlan, OrganizationPlan, ProfilePlan, FleetPlan, EdgePlan, ScenarioPlan, DatasetPlan or
	// AgreementPlan.
	Plan any
	// Fatal is set when the object does not compile; its plan is then not in force.
	Fatal bool
}

// platforms gathers a Snapshot per platform. Objects without a platform become findings.
func (s *Set) platforms(o Options) ([]*Platform, []Finding) {
	var all []*Platform
	var typed []*v1alpha1.GridPlatform
	namespaces := s.namespaces()
	secrets := s.secrets()
	for _, object := range s.Objects {
		if p, ok := object.Object.(*v1alpha1.GridPlatform); ok && !object.Invalid {
			typed = append(typed, p)
			all = append(all, &Platform{Object: object, Snapshot: snapshot(o, p, namespaces, secrets)})
		}
	}
	for _, p := range all {
		p.Snapshot.Platforms = typed
		p.cityGuardrails(s)
	}
	var findings []Finding
	for _, object := range s.Objects {
		if object.Invalid || !ours(object) {
			continue
		}
		home, problems := compile.Membership(&compile.Snapshot{Platforms: typed, Namespaces: namespaces}, object.Kind, object.GetNamespace())
		if problems.Fatal() {
			findings = append(findings, object.problems(problems)...)
			continue
		}
		i := slices.IndexFunc(all, func(p *Platform) bool { return p.Object.Object == home })
		all[i].Members = append(all[i].Members, &Member{Object: object})
		add(all[i].Snapshot, object)
	}
	for _, p := range all {
		slices.SortFunc(p.Members, func(a, b *Member) int {
			return cmp.Or(cmp.Compare(kindOrder(a.Kind), kindOrder(b.Kind)), cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
		})
		p.placeholders()
	}
	slices.SortFunc(all, func(a, b *Platform) int {
		return cmp.Or(cmp.Compare(a.Object.GetNamespace(), b.Object.GetNamespace()), cmp.Compare(a.Object.GetName(), b.Object.GetName()))
	})
	return all, findings
}

// HasPlatform reports whether the files hold a GridPlatform, be it a wrong one.
func (s *Set) HasPlatform() bool {
	return slices.ContainsFunc(s.Objects, func(o *Object) bool { return o.Kind == "GridPlatform" })
}

// order of kinds: what others refer to first.
var order = []string{"GridPlatform", "Organization", "DeviceProfile", "Scenario", "Community", "DeviceFleet", "EdgeNode", "Dataset", "DataSharingAgreement"}

func kindOrder(kind string) int { return slices.Index(order, kind) }

// ours tells the members of a platform from the platform itself and from what is not of our group.
func ours(o *Object) bool { return kindOrder(o.Kind) > 0 }

func snapshot(o Options, p *v1alpha1.GridPlatform, namespaces map[string]compile.Namespace, secrets map[types.NamespacedName]map[string][]byte) *compile.Snapshot {
	own := map[types.NamespacedName]map[string][]byte{}
	for k, v := range secrets {
		own[k] = v
	}
	return &compile.Snapshot{
		Now: o.Now, Platform: p, Namespaces: namespaces, Catalog: o.Catalog, Images: o.Images, Secrets: own, MissingAPIs: o.MissingAPIs,
		Generated: map[types.NamespacedName]map[string][]byte{}, Artifacts: map[types.NamespacedName]compile.Artifact{},
		Communities: compile.Named[*v1alpha1.Community]{}, Organizations: compile.Named[*v1alpha1.Organization]{},
		Profiles: compile.Named[*v1alpha1.DeviceProfile]{}, Fleets: compile.Named[*v1alpha1.DeviceFleet]{},
		Scenarios: compile.Named[*v1alpha1.Scenario]{}, Datasets: compile.Named[*v1alpha1.Dataset]{},
		Agreements: compile.Named[*v1alpha1.DataSharingAgreement]{}, Edges: compile.Named[*v1alpha1.EdgeNode]{},
	}
}

func add(s *compile.Snapshot, o *Object) {
	switch typed := o.Object.(type) {
	case *v1alpha1.Community:
		s.Communities.Add(typed)
	case *v1alpha1.Organization:
		s.Organizations.Add(typed)
	case *v1alpha1.DeviceProfile:
		s.Profiles.Add(typed)
	case *v1alpha1.DeviceFleet:
		s.Fleets.Add(typed)
		s.Clouds = s.Clouds || typed.Spec.AccessMode == v1alpha1.AccessPlatform
	case *v1alpha1.EdgeNode:
		s.Edges.Add(typed)
	case *v1alpha1.Scenario:
		s.Scenarios.Add(typed)
	case *v1alpha1.Dataset:
		s.Datasets.Add(typed)
	case *v1alpha1.DataSharingAgreement:
		s.Agreements.Add(typed)
	}
}

func (s *Set) namespaces() map[string]compile.Namespace {
	out := map[string]compile.Namespace{}
	for _, o := range s.Objects {
		if n, ok := o.Object.(*corev1.Namespace); ok {
			out[n.Name] = compile.Namespace{Labels: n.Labels}
		}
	}
	return out
}

func (s *Set) secrets() map[types.NamespacedName]map[string][]byte {
	out := map[types.NamespacedName]map[string][]byte{}
	for _, o := range s.Objects {
		if secret, ok := o.Object.(*corev1.Secret); ok {
			out[types.NamespacedName{Namespace: secret.Namespace, Name: secret.Name}] = secret.Data
		}
	}
	return out
}

// placeholder stands for a value that only the cluster has. It is the same each time, so that output can be compared.
const placeholder = "PLACEHOLDER"

// notInFiles begins a note about a Secret that the files name and do not hold.
const notInFiles = "not in the files"

// placeholders fills in what the files cannot hold, and notes it.
func (p *Platform) placeholders() {
	s, ns := p.Snapshot, p.Object.GetNamespace()
	note := func(format string, args ...any) { p.Notes = append(p.Notes, fmt.Sprintf(format, args...)) }
	for name, keys := range compile.GeneratedSecrets(s.Platform) {
		data := map[string][]byte{}
		for _, key := range keys {
			data[key] = []byte(placeholder)
		}
		s.Generated[name] = data
		note("Secret %s: generated by the operator; the values here are placeholders", name)
	}
	stand := func(namespace, name, why string, data map[string][]byte) {
		at := types.NamespacedName{Namespace: namespace, Name: name}
		if s.Secrets[at] == nil {
			s.Secrets[at] = data
			note("Secret %s: %s", at, why)
			if strings.HasPrefix(why, notInFiles) {
				p.Missing = append(p.Missing, p.Notes[len(p.Notes)-1])
			}
		}
	}
	certificate := func(name string) {
		stand(ns, name, "issued by cert-manager; copies of it hold placeholders", map[string][]byte{
			"tls.crt": []byte(placeholder), "tls.key": []byte(placeholder), "ca.crt": []byte(placeholder),
		})
	}
	certificate(compile.SecretBrokerTLS)
	if compile.UsesEMQX(s.Platform) {
		certificate(compile.SecretDevices)
	}
	if e := s.Platform.Spec.Database.External; e != nil {
		stand(ns, e.DSNSecretRef.Name, notInFiles+"; the connection string of the database is a placeholder", map[string][]byte{
			e.DSNSecretRef.Key: []byte("postgres://placeholder:" + placeholder + "@database.invalid/" + contract.DatabaseName),
		})
	}
	for _, in := range s.Platform.Spec.Integrations {
		if in.SecretRef != nil {
			stand(ns, in.SecretRef.Name, notInFiles+"; the credentials for integration "+in.Name+" are a placeholder", map[string][]byte{contract.IntegrationToken: []byte(placeholder)})
		}
	}
	for _, m := range p.Members {
		switch o := m.Object.Object.(type) {
		case *v1alpha1.Organization:
			plan, _ := compile.Organization(s, o) // for the names alone
			for _, c := range plan.Certificates {
				certificate(c.Name)
			}
			if w := o.Spec.Webhook; w != nil {
				stand(o.Namespace, w.SecretRef.Name, notInFiles+"; the webhook secret of Organization "+o.Name+" is a placeholder", map[string][]byte{
					"secret": []byte("whsec_" + base64.StdEncoding.EncodeToString([]byte(placeholder+"PLACEHOLDERPLACEHOLDER"))),
				})
			}
		case *v1alpha1.Dataset:
			if ref := o.Spec.Source.DSNSecretRef; ref != nil {
				stand(o.Namespace, ref.Name, notInFiles+"; the connection string of Dataset "+o.Name+" is a placeholder", map[string][]byte{
					cmp.Or(ref.Key, "dsn"): []byte("postgres://placeholder:" + placeholder + "@database.invalid/" + contract.DatabaseName),
				})
			}
		case *v1alpha1.EdgeNode:
			note("Secret %s/%s: the one-time token is made by the operator; a placeholder here", o.Namespace, compile.EdgeTokenName(o.Name))
		case *v1alpha1.DeviceFleet:
			for _, name := range compile.FleetCANames(o, s.Now) {
				certificate(name)
			}
			if o.Spec.Inventory == nil {
				continue
			}
			p.artifact(o, stand)
			for _, ref := range o.Spec.Inventory.Secrets {
				stand(o.Namespace, ref.Name, notInFiles+"; its rows of DeviceFleet "+o.Name+" were not checked", map[string][]byte{
					"inventory.csv": []byte("device,community\n"),
				})
			}
		}
	}
	slices.Sort(p.Notes)
	slices.Sort(p.Missing)
}

// artifact stands in for the artefact of a fleet, which offline commands do not fetch, and notes it.
func (p *Platform) artifact(o *v1alpha1.DeviceFleet, stand func(namespace, name, why string, data map[string][]byte)) {
	a := o.Spec.Inventory.Artifact
	if a == nil {
		return
	}
	p.Snapshot.Artifacts[types.NamespacedName{Namespace: o.Namespace, Name: o.Name}] = compile.Artifact{Data: []byte("device,community\n")}
	p.Missing = append(p.Missing, "artefact of DeviceFleet "+o.Name+": not fetched; its rows were not checked. Check the file itself with dizuo fleet check")
	p.Notes = append(p.Notes, p.Missing[len(p.Missing)-1])
	if a.SecretRef != nil {
		stand(o.Namespace, a.SecretRef.Name, notInFiles+"; the credentials for the artefact of DeviceFleet "+o.Name+" are not needed here", map[string][]byte{"token": []byte(placeholder)})
	}
}
