package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// clusterOf answers as an API server that has GridPlatforms and Secrets, by namespace, and gives a kubeconfig that names it.
func clusterOf(t *testing.T, platforms map[string][]v1alpha1.GridPlatform, secrets map[string]corev1.Secret) string {
	t.Helper()
	resources := func(group string, names ...metav1.APIResource) metav1.APIResourceList {
		return metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: group, APIResources: names}
	}
	version := metav1.GroupVersionForDiscovery{GroupVersion: "dizuo.io/v1alpha1", Version: "v1alpha1"}
	group := metav1.APIGroup{TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}, Name: "dizuo.io", Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version}
	known := map[string]any{
		"/api": metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}}, "/apis": metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{group}},
		"/apis/dizuo.io": group, "/apis/dizuo.io/v1alpha1": resources("dizuo.io/v1alpha1", metav1.APIResource{Name: "gridplatforms", Kind: "GridPlatform", Namespaced: true, Verbs: []string{"get", "list"}}),
		"/api/v1": resources("v1", metav1.APIResource{Name: "secrets", Kind: "Secret", Namespaced: true, Verbs: []string{"get"}}),
	}
	for namespace, list := range platforms {
		path := "/apis/dizuo.io/v1alpha1/namespaces/" + namespace + "/gridplatforms"
		for i := range list {
			list[i].TypeMeta = metav1.TypeMeta{Kind: "GridPlatform", APIVersion: "dizuo.io/v1alpha1"}
			list[i].Namespace = namespace
			known[path+"/"+list[i].Name] = list[i]
		}
		known[path] = v1alpha1.GridPlatformList{TypeMeta: metav1.TypeMeta{Kind: "GridPlatformList", APIVersion: "dizuo.io/v1alpha1"}, Items: list}
	}
	for ref, s := range secrets {
		namespace, name, _ := strings.Cut(ref, "/")
		s.TypeMeta, s.Namespace, s.Name = metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}, namespace, name
		known["/api/v1/namespaces/"+namespace+"/secrets/"+name] = s
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		v, ok := known[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			v = metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonNotFound, Code: 404, Message: r.URL.Path}
		}
		_ = json.NewEncoder(w).Encode(v)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	config := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "one"}}],
		"clusters": [{"name": "c", "cluster": {"server": %q}}], "users": [{"name": "u", "user": {"token": "t"}}]}`, server.URL)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestWhereTheGridServiceIs: the status of the platform says it, of the one in the namespace; the Secret of the organisation has its CA, and its key signs.
func TestWhereTheGridServiceIs(t *testing.T) {
	key, _ := staff(t)
	rawKey, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	args, all := stub(t, func(asked) (int, any) { return 200, map[string]any{"cases": []any{}} })
	address, ca := args[1], args[3]
	rawCA, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	named := func(name, endpoint string) v1alpha1.GridPlatform {
		p := v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if p.Status.Endpoints = (&v1alpha1.EndpointStatus{}); endpoint != "" {
			p.Status.Endpoints.Grid = endpoint
		}
		return p
	}
	cluster := clusterOf(t, map[string][]v1alpha1.GridPlatform{"one": {named("a", address)}, "two": {named("b", address), named("c", address)}, "bare": {named("d", "")}, "none": {}},
		map[string]corev1.Secret{"one/desk": {Data: map[string][]byte{"ca.crt": rawCA, "tls.key": rawKey}}})
	signed := []string{"--organization", "committee", "--subject", "p-17", "--role", "GridWorker"}
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"the one of the context's namespace": {[]string{"--ca", ca, "--token", "t"}, ExitOK, ""},
		"the one of a namespace":             {[]string{"-n", "one", "--ca", ca, "--token", "t"}, ExitOK, ""},
		"by name":                            {[]string{"--platform", "two/b", "--ca", ca, "--token", "t"}, ExitOK, ""},
		"which of two":                       {[]string{"-n", "two", "--ca", ca, "--token", "t"}, ExitUsage, "namespace two holds 2 GridPlatforms"},
		"none there":                         {[]string{"-n", "none", "--ca", ca, "--token", "t"}, ExitUsage, "namespace none holds 0 GridPlatforms"},
		"no address yet":                     {[]string{"-n", "bare", "--ca", ca, "--token", "t"}, ExitFailed, "GridPlatform bare/d has no status.endpoints.grid yet"},
		"another CA":                         {[]string{"--token", "t"}, ExitFailed, "certificate"},
		"the CA of the Secret":               {[]string{"--token", "t", "--secret", "one/desk"}, ExitOK, ""},
		"signed for the one there":           {append([]string{"--server", address, "--ca", ca, "-n", "one", "--key", key}, signed...), ExitOK, ""},
		"a Secret without a certificate":     {append([]string{"--secret", "one/desk"}, signed...), ExitFailed, "Secret one/desk: tls.crt"},
	} {
		*all = nil
		r := run(t, "", append(append([]string{"cases", "list", "--kubeconfig", cluster}, tc.args...), "--lang", "en")...)
		if r.code != tc.code || !strings.Contains(r.err, tc.want) || (len(*all) == 1) != (tc.code == ExitOK) {
			t.Errorf("%s: exit code %d, want %d: %s", name, r.code, tc.code, r.err)
		}
	}
}

// TestCaseWithNothingToSay has no heads of what it has not.
func TestCaseWithNothingToSay(t *testing.T) {
	args, _ := stub(t, func(asked) (int, any) {
		c := aCase()
		for _, part := range []string{"times", "parties", "closing", "history", "acknowledgeOverdue"} {
			delete(c, part)
		}
		return 200, c
	})
	if r := run(t, "", append([]string{"cases", "show", "0197a1b2-0000-7000-8000-000000000001", "--lang", "en"}, args...)...); r.code != ExitOK || strings.Count(r.out, "\n") != 2 {
		t.Errorf("exit code %d:\n%s", r.code, r.out)
	}
}

// TestStatsOfTheWhole: without groups there is the whole alone; a month that is over, with nothing withheld, needs no remark.
func TestStatsOfTheWhole(t *testing.T) {
	args, _ := stub(t, func(q asked) (int, any) {
		if q.path == "/v1/one-table" {
			return 200, map[string]any{"period": "2026-05", "complete": true, "title": "t", "titleEN": "t", "rows": []any{}, "total": map[string]any{"values": map[string]any{"opened": 1}},
				"indicators": []any{map[string]any{"id": "opened", "name": "n", "nameEN": "n", "unit": "u"}}}
		}
		return 200, map[string]any{"by": []any{}, "groups": []any{map[string]any{"cases": 2}}, "whole": map[string]any{"cases": 2}}
	})
	if r := run(t, "", append([]string{"cases", "stats", "--by", "", "--lang", "en"}, args...)...); r.code != ExitOK || strings.Count(r.out, "\n") != 3 || strings.Contains(r.out, "left out") {
		t.Errorf("exit code %d:\n%s%s", r.code, r.out, r.err)
	}
	if r := run(t, "", append([]string{"cases", "one-table", "--period", "2026-05", "--lang", "en"}, args...)...); r.code != ExitOK || strings.Contains(r.out, "not over") || strings.Contains(r.out, "not shown") {
		t.Errorf("exit code %d:\n%s%s", r.code, r.out, r.err)
	}
}

// TestCaseWatchIsStopped while it asks: that is no failure.
func TestCaseWatchIsStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done() // whoever asks has hung up
	}))
	t.Cleanup(server.Close)
	args := []string{"--server", server.URL, "--ca", pemOf(t, server.Certificate()), "--token", "t"}
	var out, errs strings.Builder
	root := newRoot(&app{Streams: Streams{strings.NewReader(""), &out, &errs}, now: func() time.Time { return at }, env: func(string) string { return "" }, wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	root.SetArgs(append([]string{"cases", "watch"}, args...))
	if code := report(root.ExecuteContext(ctx), &errs); code != ExitOK || errs.String() != "" {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}
