package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dizuo/dizuo/internal/contract"
)

// A provider's own database is measured as the platform's tables are: by statements that change nothing. What it says when it cannot be
// read names no host and no user.
func TestQualityOfAProvidersDatabase(t *testing.T) {
	now := time.Now()
	w := newWorld(t, foreign, func(w *world) {
		d := w.bundle.Access.Datasets["elders"]
		n := int32(90)
		d.Quality = &contract.Quality{Completeness: &n, Accuracy: &n, Timeliness: &n}
		d.Fields = map[string]contract.DatasetField{
			"phone": {Type: "Integer", Column: "phone", Required: true}, "village": {Type: "Enum", Column: "village", Enum: []string{"jinghu"}, Required: true},
		}
		gone, away := d, d
		gone.Source.Table = "nothing"
		away.Source.DSN = "away"
		if err := os.WriteFile(filepath.Join(w.config.SourceDir, "away"), []byte("postgres://someone:x@127.0.0.1:1/secretdb?sslmode=verify-full"), 0o600); err != nil {
			w.t.Fatal(err)
		}
		w.bundle.Access.Datasets = map[string]contract.Dataset{"elders": d, "gone": gone, "away": away}
	})
	w.server.measureDue(t.Context(), w.bundle.Access.Datasets, now)
	var r contract.Report
	w.server.report(&r)
	// Of 100 phones all are numbers, of 100 villages 90 are of the enum.
	full, fit := int32(100), int32(95)
	want := contract.DatasetReport{
		Reachable: true, MeasuredAt: now, Quality: contract.Quality{Completeness: &full, Accuracy: &fit},
		Unmeasured: map[string]string{"timeliness": "no freshness says which column has the time of a record, and what age is too old"},
	}
	if diff := cmp.Diff(want, r.Datasets["elders"], cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"gone", "away"} {
		got := r.Datasets[name]
		if got.Reachable || !strings.Contains(got.Problem, "cannot be described now") || strings.Contains(got.Problem, "someone") || strings.Contains(got.Problem, "127.0.0.1") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// One that has as many readers as it may is left to them.
	from, err := w.server.sources.get(t.Context(), "elders")
	if err != nil || !from.slots.TryAcquire(foreignWaiting) {
		t.Fatal("no places", err)
	}
	defer from.slots.Release(foreignWaiting)
	if got := w.server.measure(t.Context(), w.bundle.Access.Datasets["elders"], now); got.Reachable || got.Problem != errBusy.Error() {
		t.Errorf("busy: %+v", got)
	}
}

// What the platform itself shares is measured in the views that are read.
func TestQualityOfThePlatformsOwn(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, func(w *world) {
		n := int32(90)
		w.exec(`CREATE TABLE IF NOT EXISTS platform.devices (fleet text, device text, profile text, community text, grid text, first_seen timestamptz, last_seen timestamptz)`)
		w.exec(`GRANT SELECT ON platform.devices TO dizuo_gateway`)
		w.exec(`INSERT INTO platform.devices VALUES ('f', 'd1', 'meter', 'jinghu', NULL, now(), '2026-03-01T11:30:00Z'), ('f', 'd2', 'odd', 'jinghu', NULL, now(), '2026-02-01T00:00:00Z')`)
		w.bundle.Access.Datasets["devices"] = contract.Dataset{
			Provider: "health", Sharing: "Conditional", Source: contract.Source{Type: "Devices", CommunityColumn: "community"},
			Fields: map[string]contract.DatasetField{
				"device": {Type: "String", Column: "device", Required: true}, "grid": {Type: "String", Column: "grid", Required: true},
				"profile": {Type: "Enum", Column: "profile", Enum: []string{"meter"}}, "seen": {Type: "Time", Column: "last_seen"},
			},
			Quality: &contract.Quality{Completeness: &n, Accuracy: &n}, Freshness: &contract.Freshness{Column: "last_seen", MaxAgeSeconds: 3600},
		}
		w.bundle.Access.Datasets["odd"] = contract.Dataset{Source: contract.Source{Type: "Weather"}}
	})
	half, most := int32(50), int32(83) // of two devices, two profiles and two times one does not fit
	want := contract.DatasetReport{Reachable: true, MeasuredAt: now, Quality: contract.Quality{Completeness: &half, Accuracy: &most, Timeliness: &half}}
	if diff := cmp.Diff(want, w.server.measure(t.Context(), w.bundle.Access.Datasets["devices"], now), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if got := w.server.measure(t.Context(), w.bundle.Access.Datasets["odd"], now); got.Reachable || !strings.Contains(got.Problem, `"Weather" is not known`) {
		t.Errorf("a source that is none: %+v", got)
	}
}
