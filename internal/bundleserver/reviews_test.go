package bundleserver

import (
	"context"
	"errors"
	"fmt"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// apiServer answers reviews: "good" is somebody who may, "curious" somebody who may not. The real one is asked in test/controlplane.
type apiServer struct {
	client.Client
	reviews int
}

func (a *apiServer) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	switch o := o.(type) {
	case *authenticationv1.TokenReview:
		a.reviews++
		if o.Spec.Token == "good" || o.Spec.Token == "curious" {
			o.Status = authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: o.Spec.Audiences, User: authenticationv1.UserInfo{Username: o.Spec.Token}}
		}
	case *authorizationv1.SubjectAccessReview:
		o.Status.Allowed = o.Spec.User == "good"
	}
	return nil
}

// Whoever shows any number of false tokens, or asks for any number of platforms, is slowed down, and nobody else is: a bearer who was known
// is answered from memory, and asked about again by a pace of their own.
func TestStrangersTakeNothingFromWhoIsKnown(t *testing.T) {
	api := &apiServer{}
	r := NewReviews(api)
	henan := types.NamespacedName{Namespace: "ns", Name: "henan"}
	ask := func(token string, platform types.NamespacedName) (bool, error) {
		return r.MayRead(t.Context(), token, platform)
	}
	if may, err := ask("good", henan); !may || err != nil {
		t.Fatal(may, err)
	}
	refused := 0
	for i := range 2 * mostRemembered {
		may, err := ask(fmt.Sprint("false-", i), henan)
		if may || err == nil {
			t.Fatal("a false token opens")
		}
		if !errors.Is(err, ErrUnknown) {
			refused++
		}
		if may, _ := ask("curious", types.NamespacedName{Namespace: "ns", Name: fmt.Sprint(i)}); may {
			t.Fatal("who may not read reads")
		}
		if i%100 == 0 { // as an opa polls
			if may, err := ask("good", henan); !may || err != nil {
				t.Fatalf("after %d false tokens: %v %v", i, may, err)
			}
		}
	}
	if refused == 0 || api.reviews > 200 {
		t.Errorf("%d false tokens were refused unasked, the API server was asked %d times", refused, api.reviews)
	}
	if may, err := ask("good", types.NamespacedName{Namespace: "ns", Name: "other"}); !may || err != nil {
		t.Errorf("who is known asks something new: %v %v", may, err)
	}
	asked := api.reviews
	if _, err := ask("false-0", henan); !errors.Is(err, ErrUnknown) || api.reviews != asked {
		t.Errorf("the same false token again: %v, asked %d times", err, api.reviews-asked)
	}
}
