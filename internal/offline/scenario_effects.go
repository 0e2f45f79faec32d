package offline

import (
	"slices"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// ExplainedLedger is an entry in an account; amount and subject are expressions with their values filled in.
type ExplainedLedger struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Amount  string `json:"amount"`
	// DailyCap is the most that a subject gets in a day; empty is no bound.
	DailyCap string `json:"dailyCap,omitempty"`
}

// effects says what a scenario looks at beside devices, and what single messages do.
func (e *Explained) effects(o *v1alpha1.Scenario, f filler) {
	if slices.Contains([]v1alpha1.ScenarioInput{v1alpha1.InputCase, v1alpha1.InputCommand}, o.Spec.Input) {
		e.Input = string(o.Spec.Input)
	}
	if l := o.Spec.Ledger; l != nil {
		e.Ledger = &ExplainedLedger{Name: l.Name, Subject: f.fill(l.Subject), Amount: f.fill(l.Amount), DailyCap: f.fill(l.DailyCap)}
	}
	if o.Spec.Act != nil {
		e.Act = string(o.Spec.Act.Action)
	}
	if (e.Act != "" || e.Ledger != nil) && o.Spec.Case == nil && len(o.Spec.Commands) == 0 {
		e.Dedup = "" // each message counts by itself
	}
}
