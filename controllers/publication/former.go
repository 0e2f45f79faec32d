package publication

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// former reads the parts of the bundle that is in force.
func former(ctx context.Context, js jetstream.JetStream, signer *seal.Signer) (bundle.Parts, error) {
	parts := bundle.NewParts()
	lease, index, err := current(ctx, js, signer)
	if err != nil || lease == nil {
		return parts, err
	}
	public, err := signer.Public()
	if err != nil {
		return parts, err
	}
	trust, err := seal.NewTrust(public)
	if err != nil {
		return parts, err
	}
	b, err := intake.Fetch(ctx, js, trust, *lease, *index)
	if err != nil {
		slog.Default().Warn("bundle in force not readable; objects that do not compile contribute nothing", "err", err)
		return parts, nil
	}
	parts.Platform, parts.Communities, parts.Organizations = b.Directory.Platform, b.Directory.Communities, b.Directory.Organizations
	parts.Profiles, parts.Scenarios, parts.Fleets, parts.Credentials = b.Rules.Profiles, b.Rules.Scenarios, b.Fleets, b.Credentials
	return parts, nil
}
