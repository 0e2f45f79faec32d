package access

import (
	"cmp"
	"maps"
	"slices"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// Item is an entry of the sharing list (信息共享清单).
type Item struct {
	Platform string `json:"platform"`
	Name     string `json:"name"`
	Item     string `json:"item"`
	Code     string `json:"code,omitempty"`
	Provider string `json:"provider"`
	// Writer is the one organisation that writes it.
	Writer   string      `json:"writer"`
	Sharing  string      `json:"sharing"`
	Category string      `json:"category"`
	Class    string      `json:"class"`
	Grade    string      `json:"grade"`
	Fields   []ItemField `json:"fields"`
	// Consumers read it under agreements in force.
	Consumers []string `json:"consumers"`
	// MaxAge is the freshness that is promised.
	MaxAge string `json:"maxAge,omitempty"`
	// Expected and Measured quality in percent; Measured only of a cluster.
	Expected *v1alpha1.QualityExpectation `json:"expected,omitempty"`
	Measured *v1alpha1.QualityMeasured    `json:"measured,omitempty"`
}

// ItemField is a field of an Item.
type ItemField struct {
	Name     string `json:"name"`
	Display  string `json:"displayName,omitempty"`
	Type     string `json:"type"`
	Unit     string `json:"unit,omitempty"`
	Grade    string `json:"grade"`
	Personal string `json:"personal"`
}

// Catalog gives the sharing list, sorted by name. Datasets that do not compile are on it, with no consumer.
func Catalog(s Side) []Item {
	consumers := map[string][]string{}
	for _, g := range s.grants() {
		if list := consumers[g.key.dataset]; !slices.Contains(list, g.key.consumer) {
			consumers[g.key.dataset] = append(list, g.key.consumer)
		}
	}
	out := []Item{}
	for _, name := range slices.Sorted(maps.Keys(s.Datasets)) {
		d := s.Datasets[name]
		i := Item{
			Platform: s.Platform, Name: name, Item: cmp.Or(d.Spec.DisplayName, name), Code: d.Spec.ItemCode, Provider: d.Spec.Provider.Name, Writer: d.Spec.Provider.Name,
			Sharing: string(d.Spec.Sharing), Category: string(d.Spec.Category), Class: string(compile.ClassOf(d, func(string) bool { return true })), Fields: []ItemField{}, Consumers: append([]string{}, consumers[name]...),
			Expected: d.Spec.Quality, Measured: d.Status.Quality,
		}
		if d.Spec.Writer != nil {
			i.Writer = d.Spec.Writer.Name
		}
		if d.Spec.Freshness != nil {
			i.MaxAge = d.Spec.Freshness.MaxAge.Duration.String()
		}
		for _, f := range d.Spec.Fields {
			i.Fields = append(i.Fields, ItemField{f.Name, f.DisplayName, string(f.Type), f.Unit, string(f.Grade), string(f.Personal)})
			if f.Grade.Rank() > v1alpha1.Grade(i.Grade).Rank() {
				i.Grade = string(f.Grade)
			}
		}
		out = append(out, i)
	}
	return out
}
