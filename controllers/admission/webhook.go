// Package admission tells whoever writes an agreement at once what the guardrails say of it, and refuses a Scenario for what it has wrong by
// itself. It decides nothing that compile does not decide again: the webhook may be away, and what it lets pass is not in force for that.
package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/policies"
)

// Path is where the API server asks.
const Path = "/validate-dizuo-io-v1alpha1-datasharingagreement"

// limit is the time for an answer. Beyond it the agreement passes unseen.
const limit = 300 * time.Millisecond

// Findings gives what the guardrails say of an agreement as it is about to be written. known is false where something that it refers to
// is not there: then nothing can be said yet.
type Findings func(ctx context.Context, o *v1alpha1.DataSharingAgreement) (found []policies.Violation, known bool, err error)

// Options of the webhook.
type Options struct {
	// CertDir holds tls.crt and tls.key of the webhook; empty for no webhook. They may come later.
	CertDir string
	// Host and Port that it listens on.
	Host string
	Port int
	// Deny refuses what a guardrail refuses, instead of warning.
	Deny bool
}

// validator answers the API server.
type validator struct {
	findings Findings
	deny     bool
	now      func() time.Time
}

// Setup adds the webhook to a manager. Its server starts when the certificate is there, and holds up nothing while it is not.
func Setup(mgr ctrl.Manager, o Options, findings Findings, mistakes Mistakes) error {
	if o.CertDir == "" {
		return nil
	}
	server := webhook.NewServer(webhook.Options{Host: o.Host, Port: o.Port, CertDir: o.CertDir})
	server.Register(Path, admission.WithValidator(mgr.GetScheme(), &validator{findings, o.Deny, time.Now}))
	server.Register(ScenarioPath, admission.WithValidator(mgr.GetScheme(), scenarios{mistakes}))
	return mgr.Add(late{server, o.CertDir})
}

// late starts a server when its certificate is there. It runs in every replica.
type late struct {
	webhook.Server
	dir string
}

// certificateEvery is how often it is looked for a certificate that is not there yet.
const certificateEvery = 2 * time.Second

func (l late) Start(ctx context.Context) error {
	for {
		if _, err := os.Stat(filepath.Join(l.dir, "tls.key")); err == nil {
			break
		} else if !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("certificate of the admission webhook: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(certificateEvery):
		}
	}
	return l.Server.Start(ctx)
}

func (v *validator) ValidateCreate(ctx context.Context, o *v1alpha1.DataSharingAgreement) (admission.Warnings, error) {
	return v.check(ctx, o, v.deny)
}

// ValidateUpdate denies nothing that leaves the spec as it is, and nothing that ends reading.
func (v *validator) ValidateUpdate(ctx context.Context, was, is *v1alpha1.DataSharingAgreement) (admission.Warnings, error) {
	if !is.DeletionTimestamp.IsZero() || apiequality.Semantic.DeepEqual(was.Spec, is.Spec) {
		return nil, nil
	}
	return v.check(ctx, is, v.deny && !is.Spec.Revoked && !is.Spec.Suspended)
}

// ValidateDelete is never asked.
func (v *validator) ValidateDelete(context.Context, *v1alpha1.DataSharingAgreement) (admission.Warnings, error) {
	return nil, nil
}

func (v *validator) check(ctx context.Context, o *v1alpha1.DataSharingAgreement, deny bool) (admission.Warnings, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	o = o.DeepCopy()
	if o.CreationTimestamp.IsZero() {
		o.CreationTimestamp = metav1.NewTime(v.now())
	}
	found, known, err := v.findings(ctx, o)
	if err != nil {
		slog.WarnContext(ctx, "an agreement passed admission unseen", "agreement", o.Namespace+"/"+o.Name, "err", err)
		return nil, nil
	}
	if !known {
		return nil, nil
	}
	var out admission.Warnings
	for _, f := range found {
		out = append(out, "guardrail "+f.String())
	}
	if deny && len(out) > 0 {
		return nil, fmt.Errorf("guardrails (红线规则) refuse the agreement: %s", strings.Join(out, "; "))
	}
	return out, nil
}
