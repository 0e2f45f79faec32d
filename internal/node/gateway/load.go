package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
	"github.com/dizuo/dizuo/policies"
)

// newPolicy makes a bundle ready to decide: its Rego compiled under restricted capabilities, the places of its grants found. What is as
// it was in the revision before is taken over from before, which may be nil: Rego that did not change is not compiled again, and of
// the grants only the shards that changed are read. An error means that the bundle cannot be enforced; the caller keeps the one
// before.
func newPolicy(_ context.Context, b *intake.Bundle, before *policy) (*policy, error) {
	p := &policy{bundle: b, callers: newCallers(b.Directory), persons: &memory[shown, verified[person.Identity]]{}}
	var err error
	var former *grants
	if before != nil {
		former = before.grants
	}
	if p.grants, err = newGrants(b, former); err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	if p.modules, err = digestOf(b.Modules); err != nil {
		return nil, fmt.Errorf("access shard: %w", err)
	}
	if before != nil && before.modules == p.modules {
		p.query = before.query
	} else if p.query, err = compiled(b.Modules); err != nil {
		return nil, fmt.Errorf("access shard: %w", err)
	}
	if maps.Equal(b.Modules, policies.Access()) {
		p.decisions = &memory[string, decided]{}
	}
	if p.zone, err = time.LoadLocation(b.Directory.Platform.TimeZone); err != nil {
		return nil, fmt.Errorf("directory shard: platform.timeZone %q: %w", b.Directory.Platform.TimeZone, err)
	}
	return p, nil
}

// compiled gives the query that decides, over whatever grants a request brings.
func compiled(files map[string]string) (*evaluator, error) {
	modules := map[string]string{}
	for path, text := range files {
		if strings.HasSuffix(path, ".rego") {
			modules[path] = text
		}
	}
	if len(modules) == 0 {
		return nil, errors.New("the access shard of the bundle holds no policy")
	}
	compiler, err := policies.Compile(modules)
	if err != nil {
		return nil, err
	}
	return newEvaluator(compiler)
}

func digestOf(files map[string]string) (string, error) {
	raw, err := json.Marshal(files)
	return contract.Digest(raw), err
}

// renewed gives the same policy under a renewed lease of the same revision.
func (p *policy) renewed(b *intake.Bundle) *policy {
	return &policy{bundle: b, query: p.query, modules: p.modules, decisions: p.decisions, persons: p.persons, grants: p.grants, callers: p.callers, zone: p.zone}
}
