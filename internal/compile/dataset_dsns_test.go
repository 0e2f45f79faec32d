package compile

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// TestOneMemberFillsNoSecretOfAll: a member with very many large connection strings goes without its newest, and nobody else does.
func TestOneMemberFillsNoSecretOfAll(t *testing.T) {
	s := &Snapshot{Platform: &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Namespace: "henan"}}, Datasets: Named[*v1alpha1.Dataset]{},
		Namespaces: map[string]Namespace{}, Secrets: map[types.NamespacedName]map[string][]byte{}}
	add := func(namespace string, n, size int) {
		s.Secrets[types.NamespacedName{Namespace: namespace, Name: "db"}] = map[string][]byte{"dsn": []byte("postgres://r:p@db.example/x"), "ca.crt": bytes.Repeat([]byte("x"), size)}
		for i := range n {
			s.Datasets.Add(&v1alpha1.Dataset{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s-%03d", namespace, i), UID: types.UID(namespace), CreationTimestamp: metav1.NewTime(time.Unix(int64(1000-i), 0))},
				Spec:       v1alpha1.DatasetSpec{Source: v1alpha1.DatasetSource{DSNSecretRef: &v1alpha1.SecretKeyRef{Name: "db"}}},
			})
		}
	}
	add("honest", 20, 2000)
	add("greedy", 200, 8000)
	out, without := sourceDSNs(s)
	total, honest := 0, 0
	for name, dsn := range out {
		total += len(name) + len(dsn)
		if strings.HasPrefix(name, "honest-") {
			honest++
		}
	}
	if total > maxSourceDSNs || honest != 20 || len(out)+len(without) != 220 {
		t.Errorf("%d bytes of %d datasets, %d of the honest member; %d left out", total, len(out), honest, len(without))
	}
	if len(without) == 0 || without[0].Name != "greedy-000" { // the newest
		t.Errorf("%d are left out", len(without))
	}
	if text := SourcesLeftOut(s); !strings.Contains(text, "greedy/greedy-000") || strings.Contains(text, "honest") {
		t.Errorf("%.200q", text)
	}
}
