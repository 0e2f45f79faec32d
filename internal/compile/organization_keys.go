package compile

import (
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
	"github.com/dizuo/dizuo/internal/contract"
)

// OrganizationKeys gives the digests of the public keys by which an organisation's systems and its tokens for people speak.
func OrganizationKeys(o *v1alpha1.Organization) []string {
	var texts, out []string
	for _, id := range o.Spec.Identities {
		if id.Type == v1alpha1.IdentityPublicKey {
			texts = append(texts, id.PublicKey)
		}
	}
	for _, k := range o.Spec.PersonTokenKeys {
		texts = append(texts, k.PublicKey)
	}
	for _, text := range texts {
		if d := digestOfKey(text); d != "" {
			out = append(out, d)
		}
	}
	return out
}

// digestOfKey gives the digest of a public key's SPKI; empty if it is none.
func digestOfKey(text string) string {
	if _, err := approval.ParsePublicKey(text); err != nil {
		return ""
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return ""
	}
	return contract.Digest(der)
}

// heldKey checks a key and gives its digest, unless it speaks for another organisation: the first one keeps it. Whoever writes a rival's key
// into an organisation of his own locks nobody out, and does not speak for it: the rest of his stands.
func heldKey(c *problems, s *Snapshot, o *v1alpha1.Organization, field, text string) string {
	digest := keyDigest(c, field, text)
	if digest == "" {
		return ""
	}
	rivals := []*v1alpha1.Organization{o}
	for _, list := range s.Organizations {
		for _, other := range list {
			if (other.Namespace != o.Namespace || other.Name != o.Name) && slices.Contains(OrganizationKeys(other), digest) {
				rivals = append(rivals, other)
			}
		}
	}
	if first := winner(rivals, ClaimKey, digest); first != o {
		c.list = append(c.list, Problem{Condition: v1alpha1.ConditionAccepted, Reason: v1alpha1.ReasonInvalidKey, Field: field, Waiting: true, Partial: true,
			Message: fmt.Sprintf("the key speaks for Organization %s/%s already; make one of your own, or have it taken out there", first.Namespace, first.Name)})
		return ""
	}
	return digest
}

// OrganizationClaims gives what an organisation holds beside its name: the keys that speak for it.
func OrganizationClaims(plan *OrganizationPlan) []v1alpha1.Claim {
	var out []v1alpha1.Claim
	keys := slices.Concat(plan.Document.KeyDigests, plan.Document.PersonKeyDigests)
	slices.Sort(keys)
	for _, k := range slices.Compact(keys) {
		out = append(out, v1alpha1.Claim{Kind: ClaimKey, Value: k})
	}
	return out
}
