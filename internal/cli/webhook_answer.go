package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/pkg/client/grid"
)

// dispatchedEvent is the type of the CloudEvent that calls an organisation to a case.
const dispatchedEvent = "io.dizuo.case.dispatched.v1"

// answerable are the actions that an organisation's system may take by its certificate.
var answerable = []string{"Acknowledge", "Arrive", "Handle", "Return", "RequestVerification", "Verify", "Rework", "Close", "Void"}

// answerFlags say what a receiver answers a case with, where, and as whom.
type answerFlags struct {
	actions               []string
	server, ca, cert, key string
}

func (f *answerFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.actions, "answer", nil, "actions to take on every case that one is called to, in order, such as Acknowledge or Acknowledge,RequestVerification,Verify,Close")
	flags.StringVar(&f.server, "server", "", "address of the grid service, for --answer")
	flags.StringVar(&f.ca, "ca", "", "CA of the grid service (PEM); default: the system's roots")
	flags.StringVar(&f.cert, "cert", "", "client certificate of the organisation (PEM)")
	flags.StringVar(&f.key, "key", "", "key of the certificate (PEM)")
	cmd.MarkFlagsRequiredTogether("answer", "server", "cert", "key")
	cmd.MarkFlagsMutuallyExclusive("answer", "secret-dir") // the certificate is of one organisation
}

// answerer answers a case by the API of the grid service.
type answerer struct {
	grid    *grid.ClientWithResponses
	actions []string
}

// answerer makes what --answer asks for; nil without.
func (f *answerFlags) answerer() (*answerer, error) {
	if len(f.actions) == 0 {
		return nil, nil //nolint:nilnil // it answers nothing
	}
	for _, a := range f.actions {
		if !slices.Contains(answerable, a) {
			return nil, usage("--answer %q: write actions among %s", a, strings.Join(answerable, ", "))
		}
	}
	ca, err := optionalFile(f.ca)
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("--cert and --key: %w", err)
	}
	s, err := newService(f.server, ca, []tls.Certificate{pair})
	if err != nil {
		return nil, err
	}
	client, err := s.grid()
	if err != nil {
		return nil, err
	}
	return &answerer{client, f.actions}, nil
}

// answer takes the actions on the case of a delivery. Each has a key that is made from the webhook-id: a delivery that comes again, because we
// could not answer the first time, acts once. What the service refuses for good is in the text; an error asks for the delivery again.
func (a *answerer) answer(ctx context.Context, d Received) (refused string, err error) {
	if d.Type != dispatchedEvent || d.Case == "" {
		return "", nil
	}
	id, err := uuid.Parse(d.Case)
	if err != nil {
		return "case " + d.Case + ": it is no id", nil
	}
	for _, action := range a.actions {
		key := d.WebhookID + "/" + action
		_, err := a.grid.ActOnCaseWithResponse(ctx, id, &grid.ActOnCaseParams{IdempotencyKey: &key}, grid.ActionInputBody{Action: grid.ActionInputBodyAction(action)})
		var no *Refusal
		switch {
		case err == nil:
		case errors.As(err, &no) && no.Status < http.StatusInternalServerError && no.Status != http.StatusTooManyRequests:
			return action + ": " + no.Error(), nil // somebody else was first, or it may not
		default:
			return "", fmt.Errorf("%s: %w", action, err)
		}
	}
	return "", nil
}
