package vault

import (
	"context"
	"fmt"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

type correctInput struct {
	Subject string `path:"subject" maxLength:"64"`
	Body    struct {
		Dataset   string   `json:"dataset" maxLength:"253"`
		Fields    []string `json:"fields" minItems:"1" maxItems:"64"`
		Statement string   `json:"statement" minLength:"1" maxLength:"4096" doc:"What is wrong and what is right. It is sealed under the subject's key."`
		Reason    string   `json:"reason" enum:"SubjectRequest,GuardianRequest,CourtOrder,Supervision"`
	}
}

type askedOutput struct {
	Body struct {
		Asked
		// JWS is the receipt, signed (compact serialisation, RFC 7515).
		JWS string `json:"jws"`
	}
}

// correct asks the one writer of a dataset to put something right: nobody else may change it (一数一源).
func (s *service) correct(ctx context.Context, in *correctInput) (*askedOutput, error) {
	b, out := in.Body, &askedOutput{}
	return out, s.do(ctx, actCorrect, func(tx pgx.Tx, c caller, request string) (said, error) {
		w := said{purpose: b.Reason, dataset: b.Dataset, fields: b.Fields, subjects: []string{in.Subject}}
		if err := subjectOf(ctx, tx, c, in.Subject); err != nil {
			return w, err
		}
		if err := onBehalf(ctx, tx, c, in.Subject, b.Reason); err != nil {
			return w, err
		}
		d, ok := c.bundle.Access.Datasets[b.Dataset]
		if !ok {
			return w, huma.Error422UnprocessableEntity(fmt.Sprintf("there is no dataset %q", b.Dataset))
		}
		for _, name := range b.Fields {
			if _, ok := d.Fields[name]; !ok {
				return w, huma.Error422UnprocessableEntity(fmt.Sprintf("dataset %s has no field %q", b.Dataset, name))
			}
		}
		key, err := s.keyOf(ctx, tx, in.Subject)
		if err != nil {
			return w, err
		}
		id, err := uuid.NewV7()
		if err != nil {
			return w, err
		}
		out.Body.Asked = Asked{Dataset: b.Dataset, Organization: writerOf(d), Task: id}
		if out.Body.JWS, err = s.answer(c, request, in.Subject, b.Reason, Answer{Correction: &Correction{Asked: out.Body.Asked, Fields: b.Fields}}); err != nil {
			return w, err
		}
		return w, ask(ctx, tx, c, Task{ID: id, Kind: taskCorrection, Dataset: b.Dataset, Subject: in.Subject, Fields: b.Fields, Text: b.Statement}, writerOf(d), key)
	})
}

// writerOf gives the one organisation that writes a dataset.
func writerOf(d contract.Dataset) string {
	if d.Writer != "" {
		return d.Writer
	}
	return d.Provider
}
