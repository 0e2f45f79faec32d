package seal_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/test/pki"
)

func shard(t *testing.T) contract.Shard {
	t.Helper()
	sh, err := seal.Normalize(contract.Shard{
		Name:    contract.ShardAccess,
		Roots:   []string{"dizuo/grants", "dizuo/access"},
		Data:    map[string]any{"dizuo": map[string]any{"grants": map[string]any{"<a&b>": 1, "big": int64(1) << 60, "f": 1.5e-9}}},
		Modules: map[string]string{"dizuo/access/access.rego": "package dizuo.access\n\nallow if   true\n"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return sh
}

func ref(t *testing.T, sh contract.Shard) contract.ShardRef {
	t.Helper()
	digest, err := sh.ContentDigest()
	if err != nil {
		t.Fatal(err)
	}
	return contract.ShardRef{Name: sh.Name, Digest: digest}
}

func TestShardComesBackAsItWas(t *testing.T) {
	s, trust := pki.Sealed(t)
	want := shard(t)
	raw, err := s.Shard(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := trust.Shard(raw, ref(t, want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestShardIsRefused(t *testing.T) {
	s, trust := pki.Sealed(t)
	other, _ := pki.Sealed(t)
	good := shard(t)
	forged, err := other.Shard(good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Shard(forged, ref(t, good)); err == nil {
		t.Error("a shard signed by a key that is not trusted was taken")
	}
	raw, err := s.Shard(good)
	if err != nil {
		t.Fatal(err)
	}
	wrong := ref(t, good)
	wrong.Digest = contract.Digest([]byte("another"))
	if _, err := trust.Shard(raw, wrong); err == nil {
		t.Error("a shard was taken in place of another")
	}
	changed := bytes.Clone(raw)
	changed[len(changed)/2] ^= 1
	if _, err := trust.Shard(changed, ref(t, good)); err == nil {
		t.Error("a shard with a flipped bit was taken")
	}
}

func TestLease(t *testing.T) {
	s, trust := pki.Sealed(t)
	other, _ := pki.Sealed(t)
	want := contract.Lease{Platform: "a/b", Scope: contract.ScopeCenter, Revision: "sha256:x", Sequence: 7,
		IssuedAt: time.Unix(100, 0).UTC(), ExpiresAt: time.Unix(200, 0).UTC()}
	jws, err := s.Lease(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := trust.Lease(jws)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	forged, err := other.Lease(want)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Lease(forged); err == nil {
		t.Error("a lease signed by a key that is not trusted was taken")
	}
}
