package intake

import (
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
)

func TestEdgeCredentialsReachTheBundle(t *testing.T) {
	shard := contract.Shard{Name: contract.ShardEdgeCredentials, Roots: []string{"dizuo/edgeCredentials"}, Data: map[string]any{"dizuo": map[string]any{
		"edgeCredentials": map[string]any{"north": map[string]any{"keyDigests": []any{"sha256:1"}}}}}}
	p, err := decode(shard, "sha256:2")
	if err != nil {
		t.Fatal(err)
	}
	var b Bundle
	b.add(shard.Name, p)
	if got := b.EdgeCredentials["north"].KeyDigests; len(got) != 1 || got[0] != "sha256:1" {
		t.Errorf("got %+v", b.EdgeCredentials)
	}
	shard.Data = map[string]any{"dizuo": map[string]any{}}
	if _, err := decode(shard, "sha256:2"); err == nil {
		t.Error("a shard without its document is taken: it would cut every edge node")
	}
}
