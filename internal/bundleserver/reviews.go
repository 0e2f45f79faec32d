package bundleserver

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Audience of the tokens that are taken: `kubectl create token NAME --audience dizuo-bundles`. A token for the API server opens nothing
// here, and one for here nothing there.
const Audience = "dizuo-bundles"

// ErrUnknown says that nobody is known by a token.
var ErrUnknown = errors.New("nobody is known by this token")

const (
	// remembered is how long an answer of the API server stands.
	remembered = 30 * time.Second
	// mostRemembered bounds what strangers may fill, askedPerSecond what they may ask of the API server.
	mostRemembered = 1024
	askedPerSecond = 20
)

// Reviews asks the API server: who bears a token (TokenReview), and may they get gridplatforms/bundle (SubjectAccessReview)?
type Reviews struct {
	Client client.Client

	once    sync.Once
	pace    *rate.Limiter
	mu      sync.Mutex
	answers map[question]answered
}

type question struct {
	token    [sha256.Size]byte
	platform types.NamespacedName
}

type answered struct {
	may   bool
	err   error
	until time.Time
}

// MayRead implements Authorizer. Answers are remembered for half a minute.
func (r *Reviews) MayRead(ctx context.Context, token string, platform types.NamespacedName) (bool, error) {
	q, now := question{sha256.Sum256([]byte(token)), platform}, time.Now()
	r.mu.Lock()
	a, known := r.answers[q]
	r.mu.Unlock()
	if known && now.Before(a.until) {
		return a.may, a.err
	}
	r.once.Do(func() { r.pace = rate.NewLimiter(askedPerSecond, askedPerSecond) })
	if !r.pace.Allow() {
		return false, errors.New("too many tokens are shown that nobody looked at yet")
	}
	a.may, a.err = r.ask(ctx, token, platform)
	if a.err != nil && !errors.Is(a.err, ErrUnknown) {
		return false, a.err
	}
	a.until = now.Add(remembered)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answers == nil || len(r.answers) >= mostRemembered {
		r.answers = map[question]answered{}
	}
	r.answers[q] = a
	return a.may, a.err
}

func (r *Reviews) ask(ctx context.Context, token string, platform types.NamespacedName) (bool, error) {
	who := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{Audience}}}
	if err := r.Client.Create(ctx, who); err != nil {
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
	if err := r.Client.Create(ctx, may); err != nil {
		return false, fmt.Errorf("access review: %w", err)
	}
	return may.Status.Allowed && !may.Status.Denied, nil
}
