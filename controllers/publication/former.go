package publication

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// former reads the parts of the bundle that is in force.
func former(ctx context.Context, js jetstream.JetStream, trust *seal.Trust) (bundle.Parts, error) {
	parts := bundle.NewParts()
	lease, index, _, err := current(ctx, js, trust, contract.ScopeCenter)
	if err != nil || lease == nil {
		return parts, err
	}
	b, err := intake.Fetch(ctx, js, trust, *lease, *index)
	if err != nil {
		slog.Default().Warn("bundle in force not readable; objects that do not compile contribute nothing", "err", err)
		return parts, nil
	}
	parts.Platform, parts.Communities, parts.Organizations = b.Directory.Platform, b.Directory.Communities, b.Directory.Organizations
	parts.Profiles, parts.Scenarios, parts.Fleets, parts.Credentials = b.Rules.Profiles, b.Rules.Scenarios, b.Fleets, b.Credentials
	err = formerEdges(ctx, js, trust, *index, &parts)
	return parts, err
}

// formerEdges reads the edge nodes of the bundle that is in force.
func formerEdges(ctx context.Context, js jetstream.JetStream, trust *seal.Trust, index contract.Index, parts *bundle.Parts) error {
	store, err := js.ObjectStore(ctx, contract.BundleStore)
	if err != nil {
		return errBroker{err}
	}
	for _, ref := range index.Shards {
		if ref.Name != contract.ShardEdges && ref.Name != contract.ShardEdgeCredentials {
			continue
		}
		sealed, err := store.GetBytes(ctx, contract.ObjectName("shard", ref.Digest))
		if err != nil {
			return errBroker{err}
		}
		shard, err := trust.Shard(sealed, ref)
		if err != nil {
			return err
		}
		raw, err := json.Marshal(shard.Data["dizuo"])
		if err != nil {
			return err
		}
		var doc struct {
			Edges           map[string]contract.Edge           `json:"edges"`
			EdgeCredentials map[string]contract.EdgeCredential `json:"edgeCredentials"`
		}
		if err := json.Unmarshal(raw, &doc); err != nil {
			return err
		}
		maps.Copy(parts.Edges, doc.Edges)
		maps.Copy(parts.EdgeCredentials, doc.EdgeCredentials)
	}
	return nil
}
