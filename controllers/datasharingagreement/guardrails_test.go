package datasharingagreement

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/policies"
)

// TestFindingsFitTheStatus: a rule has one entry, whatever it found, and no text is longer than the API takes.
func TestFindingsFitTheStatus(t *testing.T) {
	got := findings([]policies.Violation{
		{Rule: "personal-roles", Field: "spec.roles", Message: "name is personal", Origin: "ours"},
		{Rule: "night/hours", Field: "spec.hours", Message: "write hours", Origin: policies.OriginCity},
		{Rule: "personal-roles", Field: "spec.roles", Message: "phone is personal", Origin: "ours"},
		{Rule: "personal-legal-basis", Field: "spec.legalBasis", Message: "write one", Origin: "law"},
	})
	want := []v1alpha1.GuardrailFinding{
		{ID: "night/hours", Basis: "City", Message: "spec.hours: write hours"},
		{ID: "personal-legal-basis", Basis: "Law", Message: "spec.legalBasis: write one"},
		{ID: "personal-roles", Basis: "Ours", Message: "spec.roles: name is personal; spec.roles: phone is personal"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var many []policies.Violation
	for i := range 40 {
		many = append(many, policies.Violation{Rule: strings.Repeat("r", i+1), Message: strings.Repeat("红", 600), Origin: "ours"})
	}
	got = findings(many)
	if len(got) != maxFindings {
		t.Errorf("%d findings, want %d", len(got), maxFindings)
	}
	for _, f := range got {
		if len(f.Message) > maxFindingMessage || !utf8.ValidString(f.Message) {
			t.Fatalf("a message of %d bytes, want valid text of at most %d", len(f.Message), maxFindingMessage)
		}
	}
}
