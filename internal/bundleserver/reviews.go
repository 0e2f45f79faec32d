package bundleserver

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Audience of the tokens that are taken: `kubectl create token NAME --audience dizuo-bundles`. A token for the API server opens nothing
// here, and one for here nothing there.
const Audience = "dizuo-bundles"

// ErrUnknown says that nobody is known by a token.
var ErrUnknown = errors.New("nobody is known by this token")

const (
	// remembered is how long an answer of the API server stands, acquainted how long a bearer who was known is told from a stranger.
	remembered, acquainted = 30 * time.Second, time.Hour
	// mostRemembered bounds each of the memories, so that what strangers fill is not what others are known by.
	mostRemembered = 1024
	// strangersPerSecond is what all tokens together that nobody was known by may ask of the API server, bearerPerSecond each other token.
	strangersPerSecond, bearerPerSecond = 20, 2
)

// Reviews asks the API server: who bears a token (TokenReview), and may they get gridplatforms/bundle (SubjectAccessReview)?
type Reviews struct {
	client    client.Client
	strangers *rate.Limiter
	// bearers holds the pace of each token that somebody was known by, answers what was said of them, unknown the tokens nobody is known by.
	bearers, answers, unknown *cache.LRUExpireCache
}

// NewReviews gives Reviews that ask by a client that may create token reviews and subject access reviews.
func NewReviews(c client.Client) *Reviews {
	return &Reviews{
		client: c, strangers: rate.NewLimiter(strangersPerSecond, strangersPerSecond),
		bearers: cache.NewLRUExpireCache(mostRemembered), answers: cache.NewLRUExpireCache(mostRemembered), unknown: cache.NewLRUExpireCache(mostRemembered),
	}
}

type (
	digest   [sha256.Size]byte
	question struct {
		token    digest
		platform types.NamespacedName
	}
)

// MayRead implements Authorizer. Answers are remembered for half a minute.
func (r *Reviews) MayRead(ctx context.Context, token string, platform types.NamespacedName) (bool, error) {
	q := question{sha256.Sum256([]byte(token)), platform}
	if may, is := r.answers.Get(q); is {
		return may.(bool), nil
	}
	if _, is := r.unknown.Get(q.token); is {
		return false, ErrUnknown
	}
	pace := r.strangers
	if own, is := r.bearers.Get(q.token); is {
		pace = own.(*rate.Limiter)
	}
	if !pace.Allow() {
		return false, errors.New("too many tokens are shown that nobody looked at yet")
	}
	may, err := r.ask(ctx, token, platform)
	switch {
	case errors.Is(err, ErrUnknown):
		r.bearers.Remove(q.token)
		r.unknown.Add(q.token, nil, remembered)
	case err == nil:
		if pace == r.strangers {
			pace = rate.NewLimiter(bearerPerSecond, 10*bearerPerSecond)
		}
		r.bearers.Add(q.token, pace, acquainted)
		r.answers.Add(q, may, remembered)
	}
	return may, err
}

func (r *Reviews) ask(ctx context.Context, token string, platform types.NamespacedName) (bool, error) {
	who := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{Audience}}}
	if err := r.client.Create(ctx, who); err != nil {
		return false, fmt.Errorf("token review: %w", err)
	}
	if !who.Status.Authenticated || len(who.Status.Audiences) != 1 || who.Status.Audiences[0] != Audience {
		return false, ErrUnknown
	}
	user, extra := who.Status.User, map[string]authorizationv1.ExtraValue{}
	for key, values := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	may := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, Groups: user.Groups, UID: user.UID, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: "dizuo.io", Resource: "gridplatforms", Subresource: "bundle", Verb: "get", Namespace: platform.Namespace, Name: platform.Name,
		},
	}}
	if err := r.client.Create(ctx, may); err != nil {
		return false, fmt.Errorf("access review: %w", err)
	}
	return may.Status.Allowed && !may.Status.Denied, nil
}
