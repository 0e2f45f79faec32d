package grid_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/google/uuid"

	"github.com/dizuo/dizuo/pkg/client/grid"
)

// takeCases takes each case to which the organisation is called, from a number of the feed on, until ctx ends or something fails; it gives the
// number from which to go on.
func takeCases(ctx context.Context, server string, web *http.Client, after int64) (int64, error) {
	client, err := grid.NewClientWithResponses(server, grid.WithHTTPClient(web)) // web shows the organisation's certificate
	if err != nil {
		return after, err
	}
	wait := "25s"
	for {
		page, err := client.ListChangesWithResponse(ctx, &grid.ListChangesParams{After: &after, Wait: &wait})
		if err != nil {
			return after, err
		}
		if page.JSON200 == nil {
			return after, fmt.Errorf("changes after %d: %s", after, page.Status()) // 410: read the cases anew
		}
		for _, change := range page.JSON200.Changes {
			if change.Kind != "Dispatch" {
				continue
			}
			key := fmt.Sprintf("take-%d", change.N) // acts once, also where this runs again
			taken, err := client.ActOnCaseWithResponse(ctx, change.Case.ID, &grid.ActOnCaseParams{IdempotencyKey: &key}, grid.ActionInputBody{Action: grid.ActionInputBodyActionAcknowledge})
			if err != nil {
				return after, err
			}
			fmt.Println(change.Case.Number, taken.Status()) // 403: another organisation was called
		}
		after = page.JSON200.Next // keep it with what came of the changes
	}
}

func ExampleClientWithResponses() {
	service := httptest.NewTLSServer(gridService())
	defer service.Close()
	after, err := takeCases(context.Background(), service.URL, service.Client(), 17)
	fmt.Println(after, err)
	// Output:
	// 20260601-000012 200 OK
	// 19 changes after 19: 410 Gone
}

// gridService has two changes after number 17, the second of which calls the organisation, and was restored from a backup after these.
func gridService() http.Handler {
	id := uuid.MustParse("0197a1b2-0000-7000-8000-000000000012")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/changes", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("after") != "17" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusGone)
			fmt.Fprint(w, `{"title":"Gone","status":410}`)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"next":19,"changes":[{"n":18,"kind":"File","version":2,"case":{"id":%q,"number":"20260601-000012"}},
			{"n":19,"kind":"Dispatch","version":3,"case":{"id":%q,"number":"20260601-000012"}}]}`, id, id)
	})
	mux.HandleFunc("POST /v1/cases/{id}/actions", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.PathValue("id") != id.String() || r.Header.Get("Idempotency-Key") != "take-19" {
			w.WriteHeader(http.StatusForbidden)
		}
		fmt.Fprint(w, `{}`)
	})
	return mux
}
