package compile

import (
	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// expected puts into the document what is expected of the data: the gateway measures it.
func expected(o *v1alpha1.Dataset, doc *contract.Dataset) {
	if f := o.Spec.Freshness; f != nil {
		doc.Freshness = &contract.Freshness{Column: f.Column, MaxAgeSeconds: int64(f.MaxAge.Seconds())}
	}
	if q := o.Spec.Quality; q != nil {
		doc.Quality = &contract.Quality{Completeness: q.CompletenessPercent, Accuracy: q.AccuracyPercent, Timeliness: q.TimelinessPercent}
	}
	for _, f := range o.Spec.Fields {
		field := doc.Fields[f.Name]
		field.Enum, field.Required = f.Enum, f.Required != nil && *f.Required
		doc.Fields[f.Name] = field
	}
}
