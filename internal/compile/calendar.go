package compile

import (
	"fmt"
	"slices"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// calendar gives the days that are worked, for hours of agreements.
func calendar(o *v1alpha1.GridPlatform) *contract.Calendar {
	days := o.Spec.Calendar.WorkingDays
	if len(days) == 0 && len(o.Spec.Calendar.Holidays) == 0 && len(o.Spec.Calendar.Workdays) == 0 {
		return nil
	}
	week := []v1alpha1.Weekday{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}
	out := &contract.Calendar{Weekdays: []int{}, Holidays: o.Spec.Calendar.Holidays, Workdays: o.Spec.Calendar.Workdays}
	if len(days) == 0 {
		days = week[1:6]
	}
	for i, day := range week {
		if slices.Contains(days, day) {
			out.Weekdays = append(out.Weekdays, i)
		}
	}
	return out
}

// oidcIssuers gives the OpenID Connect issuers of a platform.
func oidcIssuers(o *v1alpha1.GridPlatform) (out []contract.OIDCProvider) {
	if o.Spec.Identity == nil {
		return nil
	}
	or := func(text, standard string) string {
		if text == "" {
			return standard
		}
		return text
	}
	for _, p := range o.Spec.Identity.OIDC {
		out = append(out, contract.OIDCProvider{
			Name: p.Name, Issuer: p.IssuerURL, Audiences: p.Audiences, CABundle: p.CABundle,
			SubjectClaim: or(p.Claims.Subject, "sub"), OrganizationClaim: or(p.Claims.Organization, "org"), RolesClaim: or(p.Claims.Roles, "roles"),
		})
	}
	return out
}

// tokenIdentity gives an identity of type OIDC, if its issuer is one of the platform's.
func tokenIdentity(c *problems, s *Snapshot, at string, id *v1alpha1.OIDCIdentity) (contract.OIDCIdentity, bool) {
	if id == nil {
		c.partial(v1alpha1.ConditionIdentitiesReady, v1alpha1.ReasonInvalidSpec, at+".oidc", "type OIDC needs it: say which tokens are the organisation's")
		return contract.OIDCIdentity{}, false
	}
	if !slices.ContainsFunc(oidcIssuers(s.Platform), func(p contract.OIDCProvider) bool { return p.Name == id.Provider }) {
		c.partial(v1alpha1.ConditionIdentitiesReady, v1alpha1.ReasonInvalidSpec, at+".oidc.provider",
			fmt.Sprintf("%s is not among spec.identity.oidc of GridPlatform %s; add it there, or name one of them", id.Provider, s.Platform.Name))
		return contract.OIDCIdentity{}, false
	}
	return contract.OIDCIdentity{Provider: id.Provider, Subject: id.Subject, Claim: id.Claim, Value: id.Value}, true
}
