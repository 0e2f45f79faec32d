package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/internal/contract/seal"
)

// ReplayQuery asks opa for the decisions on all requests of its input at once.
const ReplayQuery = "[d | some i in input.requests; d := data.dizuo.access.decision with input as i]"

// Replay is a set of decisions that were made by the same parts of a bundle.
type Replay struct {
	// Parts are the files of the signed parts.
	Parts []string
	Lines []decisionlog.Line
	// Missing says why they cannot be made again; empty if they can.
	Missing string
}

// Replayed is what an archive holds for replaying.
type Replayed struct {
	Sets []*Replay
	// Gateway counts, by reason, the refusals that the gateway says it made beside the policy.
	Gateway map[string]int
	// Others counts decisions of other agreements, whose records are not for here, and Texts the modules of policies, by the digest of all of a part's.
	Others int
	Texts  map[string]map[string]string
	// Problems of the log: with them not all lines may be there.
	Problems []string
}

// Replays collects the decisions of an archive by the parts that made them, in the order of the log. keys are those by which the auditor
// knows that the platform signs policy: nothing in the archive is trusted.
func Replays(fsys fs.FS, keys *seal.Trust, now time.Time) (Replayed, error) {
	r := replayer{fsys: fsys, keys: keys, shards: map[string]checked{}, revisions: map[string]revision{}}
	r.out = Replayed{Gateway: map[string]int{}, Texts: map[string]map[string]string{}}
	excerpt, err := ReadExcerpt(fsys)
	if err != nil {
		return r.out, err
	}
	var lines []decisionlog.Line
	report, err := Verify(fsys, Trust{Now: now}, excerpt, func(_ string, l decisionlog.Line) {
		if l.Kind == contract.LogDecision {
			lines = append(lines, l)
		}
	})
	if err != nil {
		return r.out, err
	}
	r.out.Problems = report.Problems
	platforms := map[string]string{}
	for _, c := range report.Chains {
		platforms[c.Instance] = c.Platform
		r.out.Problems = append(r.out.Problems, c.Problems...)
	}
	byParts := map[string]*Replay{}
	for _, l := range lines {
		if l.Said == nil && !slices.Contains(excerpt.UIDs, l.UID) {
			r.out.Others++
			continue
		}
		if l.Said != nil && l.Said.Decision != nil && l.Said.Decision.By == contract.DecidedByGateway && Refuses(*l.Said.Decision) {
			r.out.Gateway[strings.Join(l.Said.Decision.Reasons, ", ")]++
			continue
		}
		parts, err := r.partsOf(l, platforms[l.Instance])
		set := &Replay{Parts: parts}
		if err != nil {
			set = &Replay{Missing: err.Error()}
		}
		key := fmt.Sprint(set.Parts, set.Missing)
		if byParts[key] == nil {
			byParts[key] = set
			r.out.Sets = append(r.out.Sets, set)
		}
		byParts[key].Lines = append(byParts[key].Lines, l)
	}
	return r.out, nil
}

// Refuses says of a decision that it gives nothing. One that is not the policy's, and does not say so, is of a gateway that did not know to.
func Refuses(d contract.Decision) bool {
	return !d.Allow && len(d.Reasons) > 0 && len(d.Fields) == 0 && d.Rows == nil && !d.BreakGlass
}

// replayer remembers what it checked: many decisions rest on the same parts.
type replayer struct {
	fsys      fs.FS
	keys      *seal.Trust
	out       Replayed
	shards    map[string]checked
	revisions map[string]revision
}

type checked struct {
	shard contract.Shard
	err   error
}

type revision struct {
	lease contract.Lease
	parts map[string]string // digest by name
	err   error
}

// partsOf gives the files of the signed parts by which a decision was made. An error says why it cannot be made again.
func (r *replayer) partsOf(l decisionlog.Line, platform string) ([]string, error) {
	switch {
	case l.Said == nil:
		return nil, errors.New("the record is not here")
	case l.V != contract.LogFormat:
		return nil, errors.New("lines of format 1 name no parts of the policy")
	case l.Said.Input == nil || l.Said.Decision == nil || l.Said.Policy == nil:
		return nil, errors.New("the record has no input, decision or policy")
	case l.Said.Decision.By != "":
		return nil, fmt.Errorf("the decision is by %q, and does not refuse", l.Said.Decision.By)
	}
	ref := l.Said.Policy
	signed, ok := r.revisions[ref.Revision]
	if !ok {
		signed = r.revision(ref.Revision)
		r.revisions[ref.Revision] = signed
	}
	grants := contract.GrantsShard(l.Said.Input.Consumer)
	if err := signed.names(l, platform, map[string]string{contract.ShardAccess: ref.Access, grants: ref.Grants, contract.ShardDirectory: ref.Directory}); err != nil {
		return nil, err
	}
	refs := []contract.ShardRef{{Name: contract.ShardAccess, Digest: ref.Access}}
	if ref.Grants != "" {
		refs = append(refs, contract.ShardRef{Name: grants, Digest: ref.Grants})
	}
	var parts []string
	for _, part := range refs {
		c, ok := r.shards[part.Name+part.Digest]
		if !ok {
			c.shard, c.err = r.part(part)
			r.shards[part.Name+part.Digest] = c
		}
		if c.err != nil {
			return nil, fmt.Errorf("part %s of the policy: %w", part.Name, c.err)
		}
		if err := granted(c.shard, l); err != nil {
			return nil, err
		}
		parts = append(parts, path.Join(PolicyDir, PartName(part.Digest)))
	}
	return parts, nil
}

// revision reads the signed lease of a revision, and the index that the revision is the digest of.
func (r *replayer) revision(name string) (out revision) {
	fail := func(err error) revision { return revision{err: fmt.Errorf("revision %s of the policy: %w", name, err)} }
	raw, err := fs.ReadFile(r.fsys, path.Join(PolicyDir, RevisionName(name)))
	if err != nil {
		return fail(err)
	}
	var kept Revision
	if err := json.Unmarshal(raw, &kept); err != nil {
		return fail(err)
	}
	if out.lease, err = r.keys.Lease(kept.Lease); err != nil {
		return fail(err)
	}
	if out.lease.Revision != name || kept.Index.Revision() != name {
		return fail(fmt.Errorf("the lease is of %s, and the index of %s", out.lease.Revision, kept.Index.Revision()))
	}
	out.parts = map[string]string{}
	for _, s := range kept.Index.Shards {
		out.parts[s.Name] = s.Digest
	}
	return out
}

// maxSkew is how far the clocks of operator and gateway may be apart.
const maxSkew = 5 * time.Minute

// names holds what a line says of its policy against the signed lease and index.
func (v revision) names(l decisionlog.Line, platform string, parts map[string]string) error {
	lease := v.lease
	switch {
	case v.err != nil:
		return v.err
	case platform != "" && lease.Platform != platform:
		return fmt.Errorf("the policy is of platform %q, the log of %q", lease.Platform, platform)
	case lease.Scope != contract.ScopeCenter:
		return fmt.Errorf("the policy is of scope %q, gateways decide by that of %q", lease.Scope, contract.ScopeCenter)
	case lease.Sequence > l.Said.Policy.Sequence || lease.IssuedAt.After(l.At.Add(maxSkew)):
		return fmt.Errorf("the policy was first signed as number %d at %s, after the decision, which names number %d", lease.Sequence, lease.IssuedAt.Format(time.RFC3339), l.Said.Policy.Sequence)
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if v.parts[name] != parts[name] {
			return fmt.Errorf("the line names part %s as %q, the signed index as %q", name, parts[name], v.parts[name])
		}
	}
	return nil
}

// part checks a part against the auditor's keys and the digest that the line names.
func (r *replayer) part(ref contract.ShardRef) (contract.Shard, error) {
	raw, err := fs.ReadFile(r.fsys, path.Join(PolicyDir, PartName(ref.Digest)))
	if err != nil {
		return contract.Shard{}, err
	}
	shard, err := r.keys.Shard(raw, ref)
	if err == nil && len(shard.Modules) > 0 {
		r.out.Texts[ref.Digest] = shard.Modules
	}
	return shard, err
}

// granted holds what a line says of the agreement of its decision against a part of the policy that has it.
func granted(s contract.Shard, l decisionlog.Line) error {
	name := l.Said.Decision.Agreement
	var at any = s.Data
	for _, key := range []string{"dizuo", "grants", l.Said.Input.Dataset, l.Said.Input.Consumer, name} {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[key]
	}
	if at == nil {
		return nil
	}
	raw, err := json.Marshal(at)
	if err != nil {
		return err
	}
	var g contract.Grant
	if err := json.Unmarshal(raw, &g); err != nil {
		return fmt.Errorf("agreement %q in the signed policy: %w", name, err)
	}
	switch {
	case g.UID != l.UID:
		return fmt.Errorf("agreement %q has UID %s by the signed policy, and the line is filed under %q", name, g.UID, l.UID)
	case g.Generation != l.Said.Generation:
		return fmt.Errorf("agreement %q has generation %d by the signed policy, and the line says %d", name, g.Generation, l.Said.Generation)
	case g.Digest != l.Said.Digest:
		return fmt.Errorf("agreement %q has digest %s by the signed policy, and the line says %q", name, g.Digest, l.Said.Digest)
	}
	return nil
}

// Same holds an answer of opa against what was logged.
func Same(answer json.RawMessage, logged *contract.Decision) error {
	var got contract.Decision
	if err := json.Unmarshal(answer, &got); err != nil {
		return fmt.Errorf("opa answers %s: %w", answer, err)
	}
	a, b := plain(got), plain(*logged)
	if a != b {
		return fmt.Errorf("opa decides %s, the log has %s", a, b)
	}
	return nil
}

// plain writes a decision in one way: a list that is empty is none.
func plain(d contract.Decision) string {
	if len(d.Reasons) == 0 {
		d.Reasons = nil
	}
	if d.Rows != nil {
		rows := *d.Rows
		if len(rows.Divisions) == 0 {
			rows.Divisions = nil
		}
		d.Rows = &rows
	}
	raw, err := json.Marshal(d)
	if err != nil {
		panic(err) // texts and numbers always marshal
	}
	return string(raw)
}
