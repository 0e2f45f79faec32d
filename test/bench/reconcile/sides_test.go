//go:build envtest

package reconcile

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/test/apiserver"
)

// write is one write to the API server.
type write struct {
	// Reconcile is the call of a reconciler in which it was made.
	Reconcile string `json:"reconcile"`
	Method    string `json:"method"`
	URL       string `json:"url"`
	Type      string `json:"type"`
	Body      []byte `json:"body"`
}

// writes counts what a controller writes, and keeps it where there is a file for it. Events are counted apart: they are sent beside
// the reconcilers' work and wait for nobody.
type writes struct {
	mu     sync.Mutex
	paths  []string
	events int
	last   time.Time
	file   *os.File
}

// count gives how many writes went to a path with a part in it; all of them, if the part is empty.
func (w *writes) count(part string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, p := range w.paths {
		// A name must end there: c1 is not c10.
		if i := strings.Index(p, part); part == "" || (i >= 0 && (i+len(part) == len(p) || p[i+len(part)] == '/')) {
			n++
		}
	}
	return n
}

// sent gives how many events were sent.
func (w *writes) sent() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events
}

// quiet waits until nothing was written for a while, and gives the time of the last write.
func (w *writes) quiet() time.Time {
	w.mu.Lock()
	w.last = time.Now()
	w.mu.Unlock()
	for {
		time.Sleep(200 * time.Millisecond) // the interval of the poll
		w.mu.Lock()
		last := w.last
		w.mu.Unlock()
		if time.Since(last) > 10*time.Second {
			return last
		}
	}
}

// close ends what is kept.
func (w *writes) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	file := w.file
	if w.file = nil; file == nil {
		return nil
	}
	return file.Close()
}

// wrap counts, keeps and passes on.
func (w *writes) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodGet && !strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews") {
			if err := w.keep(r); err != nil {
				return nil, err
			}
		}
		return next.RoundTrip(r)
	})
}

func (w *writes) keep(r *http.Request) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if eventPath.MatchString(r.URL.Path) {
		w.events++
	} else {
		w.paths, w.last = append(w.paths, r.URL.Path), time.Now()
	}
	if w.file == nil {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return json.NewEncoder(w.file).Encode(write{Reconcile: string(controller.ReconcileIDFromContext(r.Context())), Method: r.Method,
		URL: r.URL.RequestURI(), Type: r.Header.Get("Content-Type"), Body: body})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// operator starts our controllers, and gives what they write and what stops them. What the first one writes is kept.
func (b *bench) operator() (*writes, func()) {
	b.t.Helper()
	w := &writes{}
	if _, err := os.Stat(b.record); err != nil {
		if w.file, err = os.Create(b.record); err != nil {
			b.t.Fatal(err)
		}
	}
	config := rest.CopyConfig(b.server.Operator())
	config.WrapTransport = w.wrap
	ctx, stop := context.WithCancel(context.Background())
	mgr, err := apiserver.Manager(ctx, config)
	if err != nil {
		b.t.Fatal(err)
	}
	return w, started(ctx, stop, mgr)
}

func started(ctx context.Context, stop func(), mgr ctrl.Manager) func() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = mgr.Start(ctx)
	}()
	return func() { stop(); <-ended }
}

// null starts a controller per kind that makes, for each object, the writes that ours made for it, and thinks of nothing.
func (b *bench) null() (*writes, func()) {
	b.t.Helper()
	w := &writes{}
	config := rest.CopyConfig(b.server.Operator())
	config.WrapTransport = w.wrap
	ctx, stop := context.WithCancel(context.Background())
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: controllers.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: ctrlconfig.Controller{SkipNameValidation: new(true)}})
	if err != nil {
		b.t.Fatal(err)
	}
	replay, err := b.recorded()
	if err != nil {
		b.t.Fatal(err)
	}
	events := make(chan write, 1<<16) // room for all of them
	for plural, kind := range map[string]client.Object{"communities": &v1alpha1.Community{}, "devicefleets": &v1alpha1.DeviceFleet{},
		"datasharingagreements": &v1alpha1.DataSharingAgreement{}, "gridplatforms": &v1alpha1.GridPlatform{}} {
		null := &nullController{http: mgr.GetHTTPClient(), host: strings.TrimSuffix(config.Host, "/"), plural: plural, replay: replay, events: events}
		if err := ctrl.NewControllerManagedBy(mgr).WithOptions(kit.Workers()).Named("null-"+plural).For(kind, kit.SpecChanged()).Complete(null); err != nil {
			b.t.Fatal(err)
		}
	}
	sender := &nullController{http: mgr.GetHTTPClient(), host: strings.TrimSuffix(config.Host, "/")}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-events:
				_ = sender.write(ctx, e) // as ours, which nobody waits for
			}
		}
	}()
	return w, started(ctx, stop, mgr)
}

// ownPath is the path of an object of our API.
var ownPath = regexp.MustCompile(`^/apis/dizuo\.io/v1alpha1/namespaces/([^/]+)/([^/]+)/([^/?]+)`)

// recorded gives the writes of the operator by the object for which it made them: what one call of a reconciler wrote belongs to
// the object of ours that it wrote to.
func (b *bench) recorded() (map[string][]write, error) {
	file, err := os.Open(b.record)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	of, regarding := map[string]string{}, map[string]string{}
	calls, events := map[string][]write{}, map[string][]write{}
	var order []string
	for decoder := json.NewDecoder(file); decoder.More(); {
		var w write
		if err := decoder.Decode(&w); err != nil {
			return nil, err
		}
		if eventPath.MatchString(w.URL) {
			k, err := eventOf(w, regarding)
			if err != nil {
				return nil, err
			}
			events[k] = append(events[k], w)
			continue
		}
		if w.Body, err = anyVersion(w.Body); err != nil {
			return nil, fmt.Errorf("%s %s: %w", w.Method, w.URL, err)
		}
		if calls[w.Reconcile] == nil {
			order = append(order, w.Reconcile)
		}
		calls[w.Reconcile] = append(calls[w.Reconcile], w)
		if m := ownPath.FindStringSubmatch(w.URL); m != nil {
			of[w.Reconcile] = key(m[2], m[1], m[3])
		}
	}
	out := map[string][]write{}
	for _, call := range order {
		if of[call] == "" {
			return nil, fmt.Errorf("a call of a reconciler wrote to no object of ours: %s", calls[call][0].URL)
		}
		out[of[call]] = append(out[of[call]], calls[call]...)
	}
	for k, list := range events {
		out[k] = append(out[k], list...)
	}
	return out, nil
}

// eventPath is the path of events, of one or of all.
var eventPath = regexp.MustCompile(`/events(/[^/?]+)?(\?.*)?$`)

// eventOf gives the object of ours that an event is about; one that is sent again in a series is known by its name.
func eventOf(w write, regarding map[string]string) (string, error) {
	path, _, _ := strings.Cut(w.URL, "?")
	name := path[strings.LastIndex(path, "/")+1:]
	if w.Method == http.MethodPost {
		o, _, err := scheme.Codecs.UniversalDeserializer().Decode(w.Body, nil, nil)
		event, ok := o.(*eventsv1.Event)
		if !ok {
			return "", fmt.Errorf("an event of type %T: %w", o, err)
		}
		plural := map[string]string{"Community": "communities", "DeviceFleet": "devicefleets", "DataSharingAgreement": "datasharingagreements",
			"GridPlatform": "gridplatforms"}[event.Regarding.Kind]
		name = event.Name
		regarding[name] = key(plural, event.Regarding.Namespace, event.Regarding.Name)
	}
	if regarding[name] == "" {
		return "", fmt.Errorf("an event about no object of ours: %s", w.URL)
	}
	return regarding[name], nil
}

// anyVersion takes the resource version out of a body: it is of another server.
func anyVersion(body []byte) ([]byte, error) {
	u := &unstructured.Unstructured{}
	if err := json.Unmarshal(body, &u.Object); err != nil {
		return nil, err
	}
	u.SetResourceVersion("")
	return json.Marshal(u.Object)
}

func key(plural, namespace, name string) string { return plural + "/" + namespace + "/" + name }

type nullController struct {
	http   *http.Client
	host   string
	plural string
	replay map[string][]write
	done   sync.Map
	// events are sent beside the work, as ours are.
	events chan write
}

// Reconcile implements reconcile.Reconciler.
func (n *nullController) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	k := key(n.plural, req.Namespace, req.Name)
	if _, done := n.done.LoadOrStore(k, true); done { // its own finalizer calls it again
		return ctrl.Result{}, nil
	}
	for _, w := range n.replay[k] {
		if eventPath.MatchString(w.URL) {
			n.events <- w
			continue
		}
		if err := n.write(ctx, w); err != nil {
			return ctrl.Result{}, fmt.Errorf("%s %s: %w", w.Method, w.URL, err)
		}
	}
	return ctrl.Result{}, nil
}

func (n *nullController) write(ctx context.Context, w write) error {
	r, err := http.NewRequestWithContext(ctx, w.Method, n.host+w.URL, bytes.NewReader(w.Body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", w.Type)
	r.Header.Set("Accept", "application/json")
	response, err := n.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s: %s", response.Status, said)
	}
	return err
}
