//go:build envtest || e2e

// Package access measures what many agreements cost: on a real API server with an operator in this process, how long it takes from the
// revocation of one of them to the lease in the broker (envtest); on the local cluster, until the gateway refuses (e2e).
package access

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
	"github.com/dizuo/dizuo/test/bench/figure"
)

const (
	// consumers share the agreements. Organizations are few in a city, agreements are many.
	consumers = 20
	provider  = "provider"
	item      = "addresses"
)

// number reads a size from the environment.
func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// world is a namespace with a platform and many agreements.
type world struct {
	*testing.T
	client client.Client
	ns     string
	many   int
	// identities of each party; an organisation that only signs needs none.
	identities []v1alpha1.OrganizationIdentity
	signed     time.Time
	relied     map[string]approval.Relied
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func key(organization string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(organization))
	return ed25519.NewKeyFromSeed(seed[:])
}

func consumer(i int) string { return fmt.Sprintf("consumer-%02d", i%consumers) }

// dataset has one field, and nothing personal.
func dataset() v1alpha1.DatasetSpec {
	return v1alpha1.DatasetSpec{Provider: v1alpha1.LocalRef{Name: provider}, DivisionColumn: "division", Sharing: v1alpha1.SharingUnconditional,
		Fields: []v1alpha1.DatasetField{{Name: "division", Personal: v1alpha1.PersonalNone, Grade: v1alpha1.GradeGeneral1}}}
}

// parties makes provider, consumers and the dataset.
func (w *world) parties(ctx context.Context) {
	w.Helper()
	names := []string{provider}
	for i := range consumers {
		names = append(names, consumer(i))
	}
	for _, name := range names {
		public, err := x509.MarshalPKIXPublicKey(key(name).Public())
		w.must(err)
		w.must(w.client.Create(ctx, &v1alpha1.Organization{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.ns}, Spec: v1alpha1.OrganizationSpec{
			Type: v1alpha1.OrganizationFire, Jurisdiction: []string{"41"}, Identities: w.identities,
			Approvers: []v1alpha1.NamedKey{{Name: "office", PublicKey: base64.StdEncoding.EncodeToString(public)}}}}))
	}
	w.must(w.client.Create(ctx, &v1alpha1.Dataset{ObjectMeta: metav1.ObjectMeta{Name: item, Namespace: w.ns}, Spec: dataset()}))
}

// signedAgreement gives an agreement of one consumer that both parties approved. The text has its defaults written out, so that what is
// signed here is what the API server keeps.
func (w *world) signedAgreement(ctx context.Context, name, consumer string) *v1alpha1.DataSharingAgreement {
	w.Helper()
	o := &v1alpha1.DataSharingAgreement{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.ns}, Spec: v1alpha1.DataSharingAgreementSpec{
		Consumer: v1alpha1.LocalRef{Name: consumer}, Purposes: []v1alpha1.Purpose{v1alpha1.PurposeFireResponse},
		Datasets: []v1alpha1.AgreementDataset{{Name: item, Fields: []string{"division"}}}}}
	w.must(w.client.Create(ctx, o, client.DryRunAll))
	o.UID, o.ResourceVersion, o.ManagedFields, o.CreationTimestamp = "", "", nil, metav1.Time{}
	digest, err := approval.Digest(o, w.rely(ctx, o))
	w.must(err)
	for _, party := range []string{provider, consumer} {
		signature, err := approval.Sign(key(party), party, "office", digest, w.signed)
		w.must(err)
		o.Spec.Approvals = append(o.Spec.Approvals, v1alpha1.Approval{Organization: party, Approver: "office", Signature: signature})
	}
	return o
}

// rely gives what an agreement relies on, read once for each consumer.
func (w *world) rely(ctx context.Context, o *v1alpha1.DataSharingAgreement) approval.Relied {
	w.Helper()
	name := o.Spec.Consumer.Name
	if r, ok := w.relied[name]; ok {
		return r
	}
	var d v1alpha1.Dataset
	var c v1alpha1.Organization
	w.must(w.client.Get(ctx, client.ObjectKey{Namespace: w.ns, Name: item}, &d))
	w.must(w.client.Get(ctx, client.ObjectKey{Namespace: w.ns, Name: name}, &c))
	r, err := approval.RelyOn(o, []*v1alpha1.Dataset{&d}, &c, map[string]string{provider: w.ns})
	w.must(err)
	w.relied[name] = r
	return r
}

// sign makes all agreements, by several hands, and says how far it is.
func (w *world) sign(ctx context.Context) {
	w.Helper()
	w.signed, w.relied = time.Now(), map[string]approval.Relied{}
	first := w.signedAgreement(ctx, "warm-up", consumer(0)) // the text with its defaults, for all others
	jobs, done := make(chan int), make(chan error)
	for i := range consumers { // read before the hands, which only read what is here
		w.rely(ctx, &v1alpha1.DataSharingAgreement{ObjectMeta: first.ObjectMeta, Spec: v1alpha1.DataSharingAgreementSpec{Consumer: v1alpha1.LocalRef{Name: consumer(i)}, Datasets: first.Spec.Datasets}})
	}
	const hands = 4
	for range hands {
		go func() {
			var err error
			for i := range jobs {
				if err == nil {
					err = w.put(ctx, first, i)
				}
			}
			done <- err
		}()
	}
	for i := range w.many {
		jobs <- i
		if i%1000 == 999 {
			w.Logf("%d of %d agreements made", i+1, w.many)
		}
	}
	close(jobs)
	for range hands {
		w.must(<-done)
	}
}

func (w *world) put(ctx context.Context, first *v1alpha1.DataSharingAgreement, i int) error {
	o := first.DeepCopy()
	o.Name, o.Spec.Consumer.Name, o.Spec.Approvals = agreementName(i), consumer(i), nil
	digest, err := approval.Digest(o, w.relied[consumer(i)])
	if err != nil {
		return err
	}
	for _, party := range []string{provider, consumer(i)} {
		signature, err := approval.Sign(key(party), party, "office", digest, w.signed)
		if err != nil {
			return err
		}
		o.Spec.Approvals = append(o.Spec.Approvals, v1alpha1.Approval{Organization: party, Approver: "office", Signature: signature})
	}
	return w.client.Create(ctx, o)
}

func agreementName(i int) string { return fmt.Sprintf("a-%06d", i) }

// inForce waits until all agreements are in force, and gives how long that took.
func (w *world) inForce(ctx context.Context, limit time.Duration) time.Duration {
	w.Helper()
	return w.all(ctx, limit, "in force", func(a *v1alpha1.DataSharingAgreement) bool { return a.Status.Phase == v1alpha1.AgreementInForce })
}

// told waits until the status of every agreement says since when all gateways enforce it: the operator has nothing left to write of them.
func (w *world) told(ctx context.Context, limit time.Duration) time.Duration {
	w.Helper()
	return w.all(ctx, limit, "told", func(a *v1alpha1.DataSharingAgreement) bool {
		return a.Status.Enforcement != nil && a.Status.Enforcement.EffectiveAt != nil
	})
}

// all waits until something holds of as many agreements as there are, and gives how long it took.
func (w *world) all(ctx context.Context, limit time.Duration, what string, holds func(*v1alpha1.DataSharingAgreement) bool) time.Duration {
	w.Helper()
	for began, said := time.Now(), -1; ; {
		n, held, next := 0, 0, ""
		for {
			var list v1alpha1.DataSharingAgreementList
			w.must(w.client.List(ctx, &list, client.InNamespace(w.ns), client.Limit(1000), client.Continue(next)))
			for i := range list.Items {
				if holds(&list.Items[i]) {
					held++
				}
			}
			n += len(list.Items)
			if next = list.Continue; next == "" {
				break
			}
		}
		took := time.Since(began)
		if held >= w.many {
			return took
		} else if held/1000 != said {
			said = held / 1000
			w.Logf("%s: %d of %d agreements %s", took.Round(time.Second), held, n, what)
		}
		if took > limit {
			w.Fatalf("after %s: %d of %d agreements %s", took, held, n, what)
		}
		select {
		case <-ctx.Done():
			w.Fatal(ctx.Err())
		case <-time.After(2 * time.Second): // a list of all costs the API server as much as the operator's work
		}
	}
}

// revoke ends an agreement by a patch.
func (w *world) revoke(ctx context.Context, name string) {
	w.Helper()
	o := &v1alpha1.DataSharingAgreement{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.ns}}
	w.must(w.client.Patch(ctx, o, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"revoked":true}}`))))
}

func percentile(d []time.Duration, p int) float64 {
	d = slices.Sorted(slices.Values(d))
	return float64(d[min(len(d)-1, len(d)*p/100)].Milliseconds())
}

func (w *world) tell(figures []figure.Figure) {
	w.Helper()
	for _, f := range figures {
		w.Logf("%-52s %10.4g %-8s target %g, met: %t", f.Name, f.Value, f.Unit, f.Target, f.Met)
	}
	w.must(figure.Merge(os.Getenv("DIZUO_BENCH_OUT"), figures))
}
