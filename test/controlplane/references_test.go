//go:build envtest

package controlplane

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
	"github.com/dizuo/dizuo/internal/compile"
)

// approverOf signs for an organisation of these tests.
func approverOf(organization string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(organization))
	return ed25519.NewKeyFromSeed(seed[:])
}

var lastSigned atomic.Int64

// signedAt gives a time that no signature had yet: of two in one second neither is newer.
func signedAt() time.Time {
	for {
		last := lastSigned.Load()
		if next := max(time.Now().Unix(), last+1); lastSigned.CompareAndSwap(last, next) {
			return time.Unix(next, 0)
		}
	}
}

func organization(ns, name string) *v1alpha1.Organization {
	public, err := x509.MarshalPKIXPublicKey(approverOf(name).Public())
	if err != nil {
		panic(err) // the key is fixed
	}
	return &v1alpha1.Organization{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: v1alpha1.OrganizationSpec{Type: v1alpha1.OrganizationFire,
		Jurisdiction: []string{"41"}, Approvers: []v1alpha1.NamedKey{{Name: "office", PublicKey: base64.StdEncoding.EncodeToString(public)}}}}
}

func profile(ns, name string) *v1alpha1.DeviceProfile {
	return &v1alpha1.DeviceProfile{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: v1alpha1.DeviceProfileSpec{Category: "SmokeDetector",
		Fields: []v1alpha1.ProfileField{{Name: "level", Type: v1alpha1.FieldNumber}}}}
}

func scenario(ns, name string) *v1alpha1.Scenario {
	return &v1alpha1.Scenario{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: v1alpha1.ScenarioSpec{ProfileRef: &v1alpha1.ProfileRef{Name: "smoke-detector"},
		DataClass: v1alpha1.DataClassC0, Trigger: v1alpha1.Trigger{When: "msg.smoke == true"},
		Case: &v1alpha1.ScenarioCase{Class: "test", Severity: v1alpha1.SeverityLow, Title: "test"}}}
}

func dataset(ns, name, provider string) *v1alpha1.Dataset {
	return &v1alpha1.Dataset{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: v1alpha1.DatasetSpec{Provider: v1alpha1.LocalRef{Name: provider}, DivisionColumn: "division",
		Fields: []v1alpha1.DatasetField{{Name: "division", Personal: v1alpha1.PersonalNone, Grade: v1alpha1.GradeGeneral1}}}}
}

func agreement(ns, name, consumer, dataset string) *v1alpha1.DataSharingAgreement {
	return &v1alpha1.DataSharingAgreement{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: v1alpha1.DataSharingAgreementSpec{Consumer: v1alpha1.LocalRef{Name: consumer},
		Datasets: []v1alpha1.AgreementDataset{{Name: dataset, Fields: []string{"division"}}}, Purposes: []v1alpha1.Purpose{v1alpha1.PurposeFireResponse}}}
}

// sign adds the approvals of organisations to an agreement that is there: what they sign has the defaults of the API server.
func sign(t *testing.T, o *v1alpha1.DataSharingAgreement, organizations ...string) {
	t.Helper()
	patch(t, o, func() {
		digest := digestOf(t, o)
		for _, name := range organizations {
			signature, err := approval.Sign(approverOf(name), name, "office", digest, signedAt())
			if err != nil {
				t.Fatal(err)
			}
			o.Spec.Approvals = append(o.Spec.Approvals, v1alpha1.Approval{Organization: name, Approver: "office", Signature: signature})
		}
	})
}

// digestOf gives the digest of an agreement with what it relies on, as the API server has it. Datasets are looked for in the test's own
// namespaces, which begin alike.
func digestOf(t *testing.T, o *v1alpha1.DataSharingAgreement) string {
	t.Helper()
	mine, _, _ := strings.Cut(o.Namespace, "-")
	var all v1alpha1.DatasetList
	if err := c.List(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	var datasets []*v1alpha1.Dataset
	for _, d := range o.Spec.Datasets {
		for i := range all.Items {
			if all.Items[i].Name == d.Name && (all.Items[i].Namespace == o.Namespace || strings.HasPrefix(all.Items[i].Namespace, mine+"-")) {
				datasets = append(datasets, &all.Items[i])
			}
		}
	}
	consumer := &v1alpha1.Organization{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: o.Namespace, Name: o.Spec.Consumer.Name}, consumer); err != nil {
		t.Fatal(err)
	}
	namespaces := map[string]string{}
	for _, d := range datasets {
		var list v1alpha1.OrganizationList
		if err := c.List(t.Context(), &list); err != nil {
			t.Fatal(err)
		}
		for _, p := range list.Items {
			if p.Name == d.Spec.Provider.Name && (p.Namespace == d.Namespace || strings.HasPrefix(p.Namespace, mine+"-")) {
				namespaces[p.Name] = p.Namespace
			}
		}
	}
	relied, err := approval.RelyOn(o, datasets, consumer, namespaces)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := approval.Digest(o, relied)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func member(ns string, role v1alpha1.MemberRole) v1alpha1.Member {
	return v1alpha1.Member{Namespace: ns, Role: role}
}

// relabel writes the label by which a namespace names its platform; none takes it off.
func relabel(t *testing.T, name, platform string) {
	t.Helper()
	ns := namespace(name, "")
	patch(t, ns, func() {
		delete(ns.Labels, compile.LabelPlatform)
		if platform != "" {
			ns.Labels[compile.LabelPlatform] = platform
		}
	})
}

// waits waits until an object is Ready but for what only a running platform can give, and so has come to rest here.
func waits(t *testing.T, objects ...object) {
	t.Helper()
	for _, o := range objects {
		reason := v1alpha1.ReasonPlatformNotReady
		switch o.(type) {
		case *v1alpha1.DeviceFleet, *v1alpha1.GridPlatform:
			reason = v1alpha1.ReasonCertificatePending
		}
		expect(t, o, v1alpha1.ConditionReady, metav1.ConditionFalse, reason, "")
		if o.GetCommonStatus().Platform == nil {
			t.Errorf("%T %s waits, and its status names no platform", o, o.GetName())
		}
	}
}

// atRest waits until a platform that was admitted waits for nothing but certificates, and has noted where its data is.
func atRest(t *testing.T, p *v1alpha1.GridPlatform) {
	t.Helper()
	waits(t, p)
	eventually(t, "the platform knows where its data is", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil || p.Status.Database == nil {
			return fmt.Errorf("not yet: %w", err)
		}
		return nil
	})
}

// refused waits until an object has no place on a platform, and checks that it then holds no claim.
func refused(t *testing.T, o object, reason, text string) {
	t.Helper()
	expect(t, o, v1alpha1.ConditionAccepted, metav1.ConditionFalse, reason, text)
	expect(t, o, v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonProgressing, "Accepted")
	if len(o.GetCommonStatus().Claims) > 0 {
		t.Errorf("%T %s was refused (%s) and claims %v", o, o.GetName(), reason, o.GetCommonStatus().Claims)
	}
}

// mended waits until an object has a condition no more, which is there only while there is something to say.
func mended(t *testing.T, o object, condition string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%T %s: no %s", o, o.GetName(), condition), func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		if got := meta.FindStatusCondition(o.GetCommonStatus().Conditions, condition); got != nil || o.GetCommonStatus().ObservedGeneration != o.GetGeneration() {
			return fmt.Errorf("is %v", got)
		}
		return nil
	})
}

func remove(t *testing.T, o client.Object) {
	t.Helper()
	if err := c.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func gone(t *testing.T, o client.Object) {
	t.Helper()
	eventually(t, fmt.Sprintf("%T %s is gone", o, o.GetName()), func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
			return fmt.Errorf("is there: %w", err)
		}
		return nil
	})
}

// untouched notes the bytes of the status of objects that have come to rest. What it gives fails the test where one has
// changed since.
func untouched(t *testing.T, objects ...object) func() {
	t.Helper()
	read := func(o object) string {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind(kindOf(t, o)))
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), u); err != nil {
			t.Fatal(err)
		}
		raw, err := json.MarshalIndent(u.Object["status"], "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return u.GetResourceVersion() + "\n" + string(raw) // the version, too: changed and changed back is changed
	}
	was := make([]string, len(objects))
	for i, o := range objects {
		was[i] = read(o)
	}
	return func() {
		t.Helper()
		for i, o := range objects {
			if diff := cmp.Diff(was[i], read(o)); diff != "" {
				t.Errorf("%T %s/%s was touched (-before +after):\n%s", o, o.GetNamespace(), o.GetName(), diff)
			}
		}
	}
}

// A namespace leaves in either way, or is admitted in another role. Its objects say so, lose what they claimed, and have it back
// when the namespace is; those of another member do not notice.
func TestANamespaceLeavesAndComesBack(t *testing.T) {
	const home, leaves, stays = "l-home", "l-leaves", "l-stays"
	judge(t, admin, home, leaves, stays)
	create(t, namespace(home, ""), namespace(leaves, home), namespace(stays, home))
	for _, ns := range []string{home, leaves, stays} {
		admit(t, ns)
	}
	members := []v1alpha1.Member{member(leaves, v1alpha1.MemberCounty), member(stays, v1alpha1.MemberCounty)}
	p := platform(home, members...)
	f, com := fleet(leaves, "f"), community(leaves, "c", "410103014006")
	fn, cn := fleet(stays, "fn"), community(stays, "cn", "410103014007")
	create(t, p)
	atRest(t, p)
	create(t, f, com, fn, cn)
	waits(t, f, com, fn, cn)
	check := untouched(t, fn, cn)

	for _, way := range []struct {
		name, reason, text string
		leave, back        func()
	}{
		{"not listed any more", v1alpha1.ReasonNamespaceNotAdmitted, "GridPlatform l-home/p does not list namespace l-leaves in spec.members",
			func() { patch(t, p, func() { p.Spec.Members = members[1:] }) }, func() { patch(t, p, func() { p.Spec.Members = members }) }},
		{"its label is taken off", v1alpha1.ReasonPlatformNotFound, "label the namespace",
			func() { relabel(t, leaves, "") }, func() { relabel(t, leaves, home) }},
		{"its label names another namespace", v1alpha1.ReasonPlatformNotFound, "names namespace l-stays, which holds no GridPlatform",
			func() { relabel(t, leaves, stays) }, func() { relabel(t, leaves, home) }},
	} {
		t.Run(way.name, func(t *testing.T) {
			way.leave()
			refused(t, f, way.reason, way.text)
			refused(t, com, way.reason, way.text)
			check()
			way.back()
			waits(t, f, com)
			check()
		})
	}
	t.Run("in another role", func(t *testing.T) {
		patch(t, p, func() { p.Spec.Members[0].Role = v1alpha1.MemberVendor })
		refused(t, com, v1alpha1.ReasonNamespaceRoleNotAllowed, "as Vendor, which may not hold a Community")
		waits(t, f) // a vendor holds fleets
		patch(t, p, func() { p.Spec.Members[0].Role = v1alpha1.MemberProvider })
		refused(t, f, v1alpha1.ReasonNamespaceRoleNotAllowed, "as Provider, which may not hold a DeviceFleet")
		check()
		patch(t, p, func() { p.Spec.Members[0].Role = v1alpha1.MemberCounty })
		waits(t, f, com)
		check()
	})
}

// What an object holds, its rival gets when it lets go, however it does: by another spec, by its deletion, or because its
// namespace leaves. While it holds it, it does not notice the rival; who comes back does not take it away again.
func TestAClaimPassesOn(t *testing.T) {
	const home, other = "g-home", "g-other"
	judge(t, admin, home, other)
	create(t, namespace(home, ""), namespace(other, home))
	members := []v1alpha1.Member{member(other, v1alpha1.MemberCounty)}
	p := platform(home, members...)
	neighbour := community(home, "neighbour", "410103014001")
	create(t, p, neighbour)
	waits(t, neighbour)
	check := untouched(t, neighbour)

	for _, way := range []struct {
		name       string
		goes, back func(first *v1alpha1.Community)
	}{
		{"it takes another code", func(first *v1alpha1.Community) { patch(t, first, func() { first.Spec.Division = "410103014099" }) },
			func(first *v1alpha1.Community) { patch(t, first, func() { first.Spec.Division = "410103014006" }) }},
		{"its namespace is not listed any more", func(*v1alpha1.Community) { patch(t, p, func() { p.Spec.Members = nil }) },
			func(*v1alpha1.Community) { patch(t, p, func() { p.Spec.Members = members }) }},
		{"its namespace takes its label off", func(*v1alpha1.Community) { relabel(t, other, "") }, func(*v1alpha1.Community) { relabel(t, other, home) }},
	} {
		t.Run(way.name, func(t *testing.T) {
			first, second := community(other, "early", "410103014006"), community(home, "late", "410103014006")
			create(t, first)
			waits(t, first)
			holder := untouched(t, first)
			create(t, second)
			refused(t, second, v1alpha1.ReasonDivisionClaimed, "g-other/early")
			holder()
			check()
			way.goes(first)
			waits(t, second)
			check()
			holder = untouched(t, second)
			way.back(first)
			refused(t, first, v1alpha1.ReasonDivisionClaimed, "g-home/late")
			holder()
			check()
			remove(t, second)
			waits(t, first) // and it has it back when that lets go
			remove(t, first)
			gone(t, first)
		})
	}
}

// Two vendors give their fleets one name: the first keeps it, and the second has it when the first is deleted.
func TestAFleetsNamePassesOn(t *testing.T) {
	const home, one, two = "n-home", "n-one", "n-two"
	judge(t, admin, home, one, two)
	create(t, namespace(home, ""), namespace(one, home), namespace(two, home))
	for _, ns := range []string{home, one, two} {
		admit(t, ns)
	}
	first, second, neighbour := fleet(one, "same"), fleet(two, "same"), fleet(two, "neighbour")
	p := platform(home, member(one, v1alpha1.MemberVendor), member(two, v1alpha1.MemberVendor))
	create(t, p)
	atRest(t, p)
	create(t, first, neighbour)
	waits(t, first, neighbour)
	check := untouched(t, first, neighbour)
	create(t, second)
	refused(t, second, v1alpha1.ReasonNameClaimed, "n-one/same")
	check()
	check = untouched(t, neighbour)
	remove(t, first)
	waits(t, second)
	check()
}

// A platform that is being deleted takes nothing in and its objects say so; when it is gone they wait for another, and have it
// when it comes. Objects of another platform do not notice.
func TestAPlatformEndsUnderItsCommunities(t *testing.T) {
	const home, county, away = "e-home", "e-county", "e-away"
	judge(t, admin, home, county, away)
	create(t, namespace(home, ""), namespace(county, home), namespace(away, ""))
	p, neighbour := platform(home, member(county, v1alpha1.MemberCounty)), platform(away)
	p.Spec.DeletionProtection = new(false)
	p.Finalizers = []string{"example.org/hold"}
	inside, outside, far := community(home, "inside", "410103014006"), community(county, "outside", "410103014007"), community(away, "far", "410103014006")
	create(t, p, neighbour, inside, outside, far)
	waits(t, inside, outside, far)
	expect(t, neighbour, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotAdmitted, "")
	eventually(t, "the platform counts its community", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(neighbour), neighbour); err != nil || neighbour.Status.Communities == nil || neighbour.Status.Communities.Total != 1 {
			return fmt.Errorf("%v %w", neighbour.Status.Communities, err)
		}
		return nil
	})
	check := untouched(t, far, neighbour)

	remove(t, p)
	refused(t, inside, v1alpha1.ReasonPlatformDeleting, "GridPlatform e-home/p is being deleted")
	refused(t, outside, v1alpha1.ReasonPlatformDeleting, "GridPlatform e-home/p is being deleted")
	late := community(home, "late", "410103014008")
	create(t, late)
	refused(t, late, v1alpha1.ReasonPlatformDeleting, "GridPlatform e-home/p is being deleted")
	check()

	patch(t, p, func() { p.Finalizers = nil })
	gone(t, p)
	refused(t, inside, v1alpha1.ReasonPlatformNotFound, "create one there")
	refused(t, outside, v1alpha1.ReasonPlatformNotFound, "names namespace e-home, which holds no GridPlatform")
	check()

	create(t, platform(home, member(county, v1alpha1.MemberCounty)))
	waits(t, inside, outside, late)
	check()
}

func TestAProfileComesAndGoes(t *testing.T) {
	const home, vendor = "f-home", "f-vendor"
	judge(t, admin, home, vendor)
	create(t, namespace(home, ""), namespace(vendor, home))
	admit(t, home)
	admit(t, vendor)
	f, neighbour := fleet(vendor, "f"), fleet(vendor, "neighbour")
	f.Spec.ProfileRef.Name = "of-our-own"
	p := platform(home, member(vendor, v1alpha1.MemberVendor))
	create(t, p)
	atRest(t, p)
	create(t, neighbour)
	waits(t, neighbour)
	check := untouched(t, neighbour)
	create(t, f)
	for range 2 { // it is missed again when it goes
		expect(t, f, v1alpha1.ConditionReferencesResolved, metav1.ConditionFalse, v1alpha1.ReasonProfileNotFound, "spec.profileRef.name: DeviceProfile of-our-own is neither on the platform nor in the catalogue")
		expect(t, f, v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonProgressing, "ReferencesResolved")
		check()
		prof := profile(home, "of-our-own")
		create(t, prof)
		mended(t, f, v1alpha1.ConditionReferencesResolved)
		waits(t, f)
		check()
		remove(t, prof)
		gone(t, prof)
	}
}

// A scenario that a platform names and that is not there harms nothing but itself.
func TestAScenarioComesAndGoes(t *testing.T) {
	const home, away = "c-home", "c-away"
	judge(t, admin, home, away)
	create(t, namespace(home, ""), namespace(away, ""))
	admit(t, home)
	admit(t, away)
	p, neighbour := platform(home), platform(away)
	p.Spec.Scenarios = []v1alpha1.ScenarioSelection{{Name: "of-our-own"}}
	create(t, p, neighbour)
	atRest(t, neighbour)
	check := untouched(t, neighbour)
	for range 2 {
		expect(t, p, v1alpha1.ConditionReferencesResolved, metav1.ConditionTrue, v1alpha1.ReasonScenarioNotFound, "spec.scenarios[0].name: Scenario of-our-own is neither on the platform nor in the catalogue")
		expect(t, p, v1alpha1.ConditionApplied, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
		waits(t, p)
		check()
		scn := scenario(home, "of-our-own")
		create(t, scn)
		mended(t, p, v1alpha1.ConditionReferencesResolved)
		waits(t, p, scn)
		check()
		remove(t, scn)
		gone(t, scn)
	}
}

// An agreement whose dataset is not there grants nothing and says so, also when the dataset goes because its namespace leaves the
// platform; and it is in force again, without a word from anybody, when the dataset is back. Its neighbour does not notice.
func TestADatasetComesAndGoes(t *testing.T) {
	const home, provider = "v-home", "v-provider"
	judge(t, admin, home, provider)
	create(t, namespace(home, ""), namespace(provider, home))
	members := []v1alpha1.Member{member(provider, v1alpha1.MemberProvider)}
	members[0].Schemas = []string{"datasets"}
	p := platform(home, members...)
	health, fire, known := organization(home, "health"), organization(home, "fire"), dataset(home, "known", "health")
	o, neighbour := agreement(home, "o", "fire", "new"), agreement(home, "neighbour", "fire", "known")
	create(t, p, health, fire, known, o, neighbour)
	admit(t, home) // approvers are recorded there
	sign(t, neighbour, "health", "fire")
	waits(t, neighbour)
	eventually(t, "the dataset counts its agreement", func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(known), known); err != nil || known.Status.Agreements != 1 {
			return fmt.Errorf("%d agreements: %w", known.Status.Agreements, err)
		}
		return nil
	})
	check := untouched(t, neighbour, known)
	missing := func(t *testing.T) {
		t.Helper()
		expect(t, o, v1alpha1.ConditionReferencesResolved, metav1.ConditionFalse, v1alpha1.ReasonDatasetNotFound, "spec.datasets[0].name: Dataset new is not there")
		if o.Status.Phase == v1alpha1.AgreementInForce {
			t.Error("it is in force without its dataset")
		}
		check()
	}
	there := func(t *testing.T) {
		t.Helper()
		expect(t, o, v1alpha1.ConditionInForce, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
		waits(t, o)
		check()
	}
	missing(t)
	create(t, dataset(provider, "new", "health"))
	sign(t, o, "health", "fire")
	there(t)
	for _, way := range []struct {
		name       string
		goes, back func()
	}{
		{"it is deleted", func() { remove(t, dataset(provider, "new", "health")) }, func() { create(t, dataset(provider, "new", "health")) }},
		{"its namespace is not listed any more", func() { patch(t, p, func() { p.Spec.Members = nil }) }, func() { patch(t, p, func() { p.Spec.Members = members }) }},
		{"its namespace takes its label off", func() { relabel(t, provider, "") }, func() { relabel(t, provider, home) }},
	} {
		t.Run(way.name, func(t *testing.T) {
			way.goes()
			missing(t)
			way.back()
			there(t)
		})
	}
}

// A second platform of a namespace takes over when the first is gone, with what is there; a platform elsewhere does not notice.
func TestASecondPlatformTakesOver(t *testing.T) {
	const home, away = "t-home", "t-away"
	judge(t, admin, home, away)
	create(t, namespace(home, ""), namespace(away, ""))
	first, neighbour := platform(home), platform(away)
	first.Spec.DeletionProtection = new(false)
	create(t, first, neighbour)
	for _, p := range []object{first, neighbour} {
		expect(t, p, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotAdmitted, "dizuo admit t-")
	}
	check := untouched(t, first, neighbour)
	second := platform(home)
	second.Name = "q"
	create(t, second)
	refused(t, second, v1alpha1.ReasonPlatformExists, "namespace t-home already holds GridPlatform p")
	check()
	check = untouched(t, neighbour)
	remove(t, first)
	gone(t, first)
	expect(t, second, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	expect(t, second, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotAdmitted, "dizuo admit t-home")
	check()
}

// A fleet of a member writes to the platform's namespace, too: it goes on when the owner of that admits Dizuo.
func TestAdmissionOfThePlatformReachesTheMembersFleets(t *testing.T) {
	create(t, namespace("y-home", ""), namespace("y-vendor", "y-home"))
	admit(t, "y-vendor")
	f := fleet("y-vendor", "f")
	create(t, platform("y-home", member("y-vendor", v1alpha1.MemberVendor)), f)
	expect(t, f, v1alpha1.ConditionSecretsAdmitted, metav1.ConditionFalse, v1alpha1.ReasonSecretNotAdmitted, "dizuo admit y-home")
	admit(t, "y-home")
	waits(t, f)
}

// A platform keeps its namespace though another that bears an earlier name was created within the same second.
func TestTheFirstPlatformKeepsItsNamespace(t *testing.T) {
	for i := range 20 {
		ns := fmt.Sprint("z-", i)
		create(t, namespace(ns, ""))
		first, second := platform(ns), platform(ns)
		second.Name = "a"
		create(t, first)
		expect(t, first, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
		create(t, second)
		if !second.CreationTimestamp.Equal(&first.CreationTimestamp) {
			continue
		}
		refused(t, second, v1alpha1.ReasonPlatformExists, "holds GridPlatform p")
		return
	}
	t.Fatal("never two within a second")
}
