// Package access says in words who may read what: the sharing list, the matrix of who sees which field, and what a change of agreements
// opens and closes. It is pure: it works on what files compile to, and asks nobody.
package access

import (
	"maps"
	"slices"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/offline"
)

// Side is the access that one state of a platform's files gives.
type Side struct {
	// Platform is namespace and name, joined by a slash.
	Platform  string
	Access    contract.Access
	Directory contract.Directory
	// Residents by community, as the communities say; 0 where they do not.
	Residents map[string]int64
	// Datasets by name, as they were written, also those that do not compile.
	Datasets map[string]*v1alpha1.Dataset
}

// Sides gives the access of every platform in compiled files. What does not compile gives none.
func Sides(r *offline.Result) []Side { return sides(r, false) }

// sidesOnceSigned is Sides as if every party had signed every text.
func sidesOnceSigned(r *offline.Result) []Side { return sides(r, true) }

func sides(r *offline.Result, onceSigned bool) []Side {
	out := []Side{}
	for _, p := range r.Platforms {
		s := Side{
			Platform:  p.Object.GetNamespace() + "/" + p.Object.GetName(),
			Access:    contract.Access{Datasets: map[string]contract.Dataset{}, Grants: map[string]map[string]map[string]contract.Grant{}},
			Directory: contract.Directory{Platform: p.Plan.Document, Communities: map[string]contract.Community{}, Organizations: map[string]contract.Organization{}},
			Residents: map[string]int64{}, Datasets: map[string]*v1alpha1.Dataset{},
		}
		for _, m := range p.Members {
			s.add(m, onceSigned)
		}
		out = append(out, s)
	}
	return out
}

func (s *Side) add(m *offline.Member, onceSigned bool) {
	if d, ok := m.Object.Object.(*v1alpha1.Dataset); ok {
		s.Datasets[d.Name] = d
	}
	name := m.GetName()
	if plan, ok := m.Plan.(compile.AgreementPlan); ok && onceSigned {
		if o, ok := m.Object.Object.(*v1alpha1.DataSharingAgreement); ok {
			s.grant(name, o.Spec.Consumer.Name, plan.OnceSigned)
		}
		return
	}
	if m.Fatal {
		return
	}
	switch plan := m.Plan.(type) {
	case compile.CommunityPlan:
		s.Directory.Communities[name] = plan.Document
		if c, ok := m.Object.Object.(*v1alpha1.Community); ok && c.Spec.Population != nil {
			s.Residents[name] = int64(c.Spec.Population.Residents)
		}
	case compile.OrganizationPlan:
		s.Directory.Organizations[name] = plan.Document
	case compile.DatasetPlan:
		s.Access.Datasets[name] = plan.Document
	case compile.AgreementPlan:
		s.grant(name, plan.Consumer, plan.Grants)
	}
}

func (s *Side) grant(agreement, consumer string, grants map[string]contract.Grant) {
	for dataset, g := range grants {
		consumers := s.Access.Grants[dataset]
		if consumers == nil {
			consumers = map[string]map[string]contract.Grant{}
			s.Access.Grants[dataset] = consumers
		}
		if consumers[consumer] == nil {
			consumers[consumer] = map[string]contract.Grant{}
		}
		consumers[consumer][agreement] = g
	}
}

// given is one grant with its dataset, as far as it opens anything.
type given struct {
	key     key
	grant   contract.Grant
	dataset contract.Dataset
}

type key struct{ dataset, consumer, agreement string }

// grants gives what can be read, by dataset, consumer and agreement, sorted.
func (s Side) grants() []given {
	var out []given
	for _, dataset := range slices.Sorted(maps.Keys(s.Access.Grants)) {
		d, ok := s.Access.Datasets[dataset]
		if !ok || d.Sharing == string(v1alpha1.SharingNone) {
			continue
		}
		consumers := s.Access.Grants[dataset]
		for _, consumer := range slices.Sorted(maps.Keys(consumers)) {
			for _, agreement := range slices.Sorted(maps.Keys(consumers[consumer])) {
				out = append(out, given{key{dataset, consumer, agreement}, consumers[consumer][agreement], d})
			}
		}
	}
	return out
}

// seen lists the fields of which something leaves, sorted.
func (g given) seen() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(g.grant.Fields)) {
		if _, ok := g.dataset.Fields[name]; ok && g.grant.Fields[name].Method != string(v1alpha1.MaskDrop) {
			out = append(out, name)
		}
	}
	return out
}
