//go:build envtest

package gather

import (
	"context"
	"io"
	"net/http"
	"reflect"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/secrets"
)

// late lets nothing of a watch through once it is shut, as a cache that lags behind.
type late struct {
	http.RoundTripper
	shut atomic.Bool
}

func (l *late) RoundTrip(r *http.Request) (*http.Response, error) {
	got, err := l.RoundTripper.RoundTrip(r)
	if err == nil && r.URL.Query().Has("watch") {
		got.Body = body{got.Body, r.Context(), &l.shut}
	}
	return got, err
}

type body struct {
	io.ReadCloser
	ctx  context.Context
	shut *atomic.Bool
}

func (b body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.shut.Load() {
		<-b.ctx.Done()
		return 0, b.ctx.Err()
	}
	return n, err
}

// What stands is taken, also where the cache does not show it yet.
func TestGeneratedAsksBeforeItMakesUp(t *testing.T) {
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
	var line late
	lagging := rest.CopyConfig(config)
	lagging.Wrap(func(rt http.RoundTripper) http.RoundTripper { line.RoundTripper = rt; return &line })
	store, err := secrets.New(t.Context(), lagging, func(types.NamespacedName) {})
	if err != nil {
		t.Fatal(err)
	}
	r := &Reader{Secrets: store}
	p := &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "henan"}}
	edge := &v1alpha1.EdgeNode{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "north"}}
	made, err := r.Generated(t.Context(), p)
	if err != nil || len(made) == 0 {
		t.Fatalf("%d Secrets, %v", len(made), err)
	}
	line.shut.Store(true)
	made[types.NamespacedName{Namespace: "default", Name: compile.EdgeTokenName(edge.Name)}] = map[string][]byte{compile.EdgeTokenKey: []byte("t")}
	for key, data := range made {
		if err := c.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	again, err := r.Generated(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	for key, data := range again {
		if !reflect.DeepEqual(data, made[key]) {
			t.Errorf("Secret %s is made up anew", key.Name)
		}
	}
	var s compile.Snapshot
	if err := r.EdgeToken(t.Context(), &s, edge); err != nil || s.Edge.Made || string(s.Edge.Token[compile.EdgeTokenKey]) != "t" {
		t.Errorf("the token of an edge node is made up anew, or %v", err)
	}
}
