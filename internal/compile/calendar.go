package compile

import (
	"fmt"
	"slices"
	"time"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// calendar gives the days and hours that are worked, for hours of agreements and times of cases; nil if the platform says nothing.
func calendar(o *v1alpha1.GridPlatform) *contract.Calendar {
	days := o.Spec.Calendar.WorkingDays
	if len(days) == 0 && len(o.Spec.Calendar.Holidays) == 0 && len(o.Spec.Calendar.Workdays) == 0 && len(o.Spec.Calendar.WorkingHours) == 0 {
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
	for _, w := range o.Spec.Calendar.WorkingHours {
		if from, to := minuteOf(w.From), minuteOf(w.To); from >= 0 && to >= 0 {
			out.Hours = append(out.Hours, contract.Window{From: from, To: to})
		}
	}
	if len(out.Hours) == 0 {
		out.Hours = contract.WorkingHours()
	}
	return out
}

// checkCalendar refuses a date that is both a holiday and a workday: nobody could say which was meant.
func checkCalendar(c *problems, o *v1alpha1.GridPlatform) {
	for i, day := range o.Spec.Calendar.Workdays {
		if slices.Contains(o.Spec.Calendar.Holidays, day) {
			c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, fmt.Sprintf("spec.calendar.workdays[%d]", i),
				day+" stands in holidays too; write it in one of them")
		}
	}
}

// minuteOf gives the minute of the day of a local time such as 06:30; -1 where it is none.
func minuteOf(text string) int {
	at, err := time.Parse("15:04", text)
	if err != nil {
		return -1
	}
	return at.Hour()*60 + at.Minute()
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
