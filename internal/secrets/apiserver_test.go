//go:build envtest

package secrets

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// What a namespace holds beside what is asked for costs no memory, and what is asked for is always the present one.
func TestStoreHoldsWhatIsAskedFor(t *testing.T) {
	env := &envtest.Environment{}
	config, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = env.Stop() })
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		other := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("other-", i),
			Annotations: map[string]string{"note": strings.Repeat("x", 200_000)}}, Data: map[string][]byte{"k": make([]byte, 500_000)}}
		if err := c.Create(t.Context(), other); err != nil {
			t.Fatal(err)
		}
	}
	mine := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "mine"}, Data: map[string][]byte{"k": []byte("1")}}
	if err := c.Create(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	told := make(chan types.NamespacedName, 100)
	s, err := New(t.Context(), config, func(k types.NamespacedName) { told <- k })
	if err != nil {
		t.Fatal(err)
	}
	key := client.ObjectKeyFromObject(mine)
	// await gets the Secret until it is as wanted; each round waits for the store to tell of a change.
	await := func(want string) {
		t.Helper()
		for {
			got, admitted, err := s.Get(t.Context(), key)
			if err != nil || !admitted {
				t.Fatalf("admitted %t, error %v", admitted, err)
			}
			if (got == nil && want == "") || (got != nil && string(got.Data["k"]) == want) {
				return
			}
			select {
			case <-told:
			case <-time.After(20 * time.Second):
				t.Fatalf("got %v, want %q", got, want)
			}
		}
	}
	await("1")
	i := s.namespaces["default"]
	if len(i.held) != 1 || i.holds("mine", mine.ResourceVersion) == nil {
		t.Errorf("%d Secrets are held, want the one that was asked for", len(i.held))
	}
	seen := metadata()
	if err := i.cache.Get(t.Context(), types.NamespacedName{Namespace: "default", Name: "other-0"}, seen); err != nil || len(seen.Annotations)+len(seen.ManagedFields) > 0 {
		t.Errorf("of the others more is kept than that they are there: %v", err)
	}
	mine.Data["k"] = []byte("2")
	if err := c.Update(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	await("2")
	if err := c.Delete(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	await("")
}
