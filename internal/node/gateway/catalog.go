package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/dizuo/dizuo/internal/contract"
)

// CatalogItem is an entry of the sharing list (信息共享清单) as one organisation sees it: what it may ask for, and how good that is. It
// names no table and no column.
type CatalogItem struct {
	Name        string `json:"name"`
	DisplayName string `json:"displayName,omitempty"`
	// ItemCode in the city's catalogue.
	ItemCode string `json:"itemCode,omitempty"`
	Provider string `json:"provider"`
	// Writer is the one organisation that writes it.
	Writer   string `json:"writer,omitempty"`
	Sharing  string `json:"sharing"`
	Category string `json:"category"`
	// Fields that an agreement with this organisation names, by name. Others of the dataset are not told.
	Fields map[string]FieldEntry `json:"fields"`
	// MaxAgeSeconds is the freshness that is promised; 0 promises none.
	MaxAgeSeconds int64 `json:"maxAgeSeconds,omitempty"`
	// Expected quality, and as this gateway measured it at MeasuredAt, in percent.
	Expected   *contract.Quality `json:"expected,omitempty"`
	Measured   *contract.Quality `json:"measured,omitempty"`
	MeasuredAt time.Time         `json:"measuredAt,omitzero"`
}

// CatalogList is the answer of GET /v1/catalog.
type CatalogList struct {
	Items []CatalogItem `json:"items"`
	// Revision of the policy bundle.
	Revision string `json:"revision"`
}

type catalogOutput struct{ Body CatalogList }

func registerCatalog(api huma.API, s *server) {
	huma.Register(api, huma.Operation{
		OperationID: "read-catalog", Method: http.MethodGet, Path: "/v1/catalog",
		Summary:   "The sharing list: metadata of datasets that this organisation has an agreement on, with their quality",
		Responses: problemResponses(api),
	}, s.catalog)
}

// catalog says nothing of a dataset that the caller has no agreement on, not even that it is there. What is shared at all the data
// office's list says.
func (s *server) catalog(ctx context.Context, _ *struct{}) (*catalogOutput, error) {
	c := callerOf(ctx)
	out := &catalogOutput{Body: CatalogList{Items: []CatalogItem{}, Revision: c.policy.bundle.Lease.Revision}}
	var measured contract.Report
	s.quality.report(&measured)
	for _, name := range sortedKeys(c.policy.bundle.Access.Datasets) {
		d := c.policy.bundle.Access.Datasets[name]
		fields := map[string]FieldEntry{}
		for _, g := range c.policy.grants.between(name, c.organization) {
			if c.policy.sameConsumer(c.organization, g) && (g.NotAfter == 0 || c.at.Unix() < g.NotAfter) {
				for field := range g.Fields {
					if f, ok := d.Fields[field]; ok {
						fields[field] = FieldEntry{Type: f.Type, Grade: f.Grade, Personal: f.Personal}
					}
				}
			}
		}
		if len(fields) > 0 {
			out.Body.Items = append(out.Body.Items, catalogItem(name, d, fields, measured.Datasets[name]))
		}
	}
	return out, nil
}

func catalogItem(name string, d contract.Dataset, fields map[string]FieldEntry, measured contract.DatasetReport) CatalogItem {
	i := CatalogItem{
		Name: name, DisplayName: d.DisplayName, ItemCode: d.ItemCode, Provider: d.Provider, Writer: d.Writer, Sharing: d.Sharing, Category: d.Category,
		Fields: fields, Expected: d.Quality,
	}
	if d.Freshness != nil {
		i.MaxAgeSeconds = d.Freshness.MaxAgeSeconds
	}
	if !measured.MeasuredAt.IsZero() {
		i.Measured, i.MeasuredAt = &measured.Quality, measured.MeasuredAt
	}
	return i
}
