package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// EventTask is the CloudEvents type by which a writer learns of a task. The message says which; what is personal in it is read here.
const EventTask = "io.dizuo.task.created"

// Task is what the one writer of a dataset is asked to do.
type Task struct {
	ID        uuid.UUID `json:"id"`
	Kind      string    `json:"kind"`
	Dataset   string    `json:"dataset"`
	Subject   string    `json:"subject"`
	Fields    []string  `json:"fields,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
	// Text is, of a correction, what is wrong and what is right; of an erasure, the key by which the dataset knows the person, if it has one
	// of its own.
	Text string `json:"text,omitempty"`
}

// Kinds of a Task.
const (
	taskCorrection = "Correction"
	taskErasure    = "Erasure"
)

// ask writes a task to the writer of a dataset and a message about it. key seals its text.
func ask(ctx context.Context, tx pgx.Tx, c caller, t Task, organization string, key []byte) error {
	var sealedText []byte
	if t.Text != "" {
		var err error
		if sealedText, err = seal(key, []byte(t.Text), "task", t.ID.String()); err != nil {
			return err
		}
	}
	if t.Fields == nil {
		t.Fields = []string{}
	}
	if _, err := tx.Exec(ctx, `INSERT INTO vault.tasks (id, kind, dataset, organization, subject, fields, sealed, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		t.ID, t.Kind, t.Dataset, organization, t.Subject, t.Fields, sealedText, c.at.UTC()); err != nil {
		return fmt.Errorf("task: %w", err)
	}
	if c.bundle.Directory.Organizations[organization].Webhook == nil {
		return nil // it sees the task over the API
	}
	message, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("message id: %w", err)
	}
	p := c.bundle.Directory.Platform
	e := event.New()
	e.SetID(message.String())
	e.SetType(EventTask)
	e.SetSource("/" + p.Namespace + "/" + p.Name + "/vault")
	e.SetSubject(t.ID.String())
	e.SetTime(c.at.UTC())
	if err := e.SetData(event.ApplicationJSON, map[string]string{"task": t.ID.String(), "kind": t.Kind, "dataset": t.Dataset}); err != nil {
		return fmt.Errorf("message: %w", err)
	}
	payload, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("message: %w", err)
	}
	_, err = tx.Exec(ctx, "INSERT INTO grid.dispatch_outbox (id, organization, payload, created_at, next_attempt_at) VALUES ($1, $2, $3, $4, $4)", message, organization, payload, c.at.UTC())
	return err
}

type tasksOutput struct {
	Body struct {
		Tasks []Task `json:"tasks"`
	}
}

// listTasks gives the oldest open tasks of the caller's own organisation.
func (s *service) listTasks(ctx context.Context, _ *struct{}) (*tasksOutput, error) {
	out := &tasksOutput{}
	out.Body.Tasks = []Task{}
	return out, s.do(ctx, actTasks, func(tx pgx.Tx, c caller, _ string) (said, error) {
		var w said
		rows, err := tx.Query(ctx, `SELECT t.id, t.kind, t.dataset, t.subject, t.fields, t.created_at, t.sealed, k.wrapped
			FROM vault.tasks t LEFT JOIN vault.keys k USING (subject) WHERE t.organization = $1 AND t.done_at IS NULL ORDER BY t.created_at, t.id LIMIT 100`, c.who.Organization)
		if err != nil {
			return w, err
		}
		out.Body.Tasks, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Task, err error) {
			var text, wrapped []byte
			if err := row.Scan(&t.ID, &t.Kind, &t.Dataset, &t.Subject, &t.Fields, &t.CreatedAt, &text, &wrapped); err != nil || text == nil {
				return t, err
			}
			w.subjects = append(w.subjects, t.Subject)
			key := s.keys.task
			if t.Kind == taskCorrection {
				if wrapped == nil { // the subject was erased meanwhile, and what was to be put right with it
					return t, nil
				}
				if key, err = s.keys.unwrap(wrapped, t.Subject); err != nil {
					return t, err
				}
			}
			plain, err := open(key, text, "task", t.ID.String())
			t.Text = string(plain)
			return t, err
		})
		return w, err
	})
}

type doneInput struct {
	ID   uuid.UUID `path:"id" format:"uuid"`
	Body struct {
		Outcome string `json:"outcome" enum:"Done,NotThere,Refused" doc:"Done; the person is not in the dataset; or refused, with its ground told to the person."`
	}
}

// finishTask closes a task of the caller's own organisation. What was personal in it goes.
func (s *service) finishTask(ctx context.Context, in *doneInput) (*struct{}, error) {
	return nil, s.do(ctx, actDone, func(tx pgx.Tx, c caller, _ string) (said, error) {
		w := said{purpose: in.Body.Outcome}
		var subject string
		err := tx.QueryRow(ctx, `UPDATE vault.tasks SET done_at = now(), outcome = $3, sealed = NULL WHERE id = $1 AND organization = $2 AND done_at IS NULL
			RETURNING dataset, subject`, in.ID, c.who.Organization, in.Body.Outcome).Scan(&w.dataset, &subject)
		if errors.Is(err, pgx.ErrNoRows) {
			return w, huma.Error404NotFound("there is no such open task of this organisation")
		}
		w.subjects = []string{subject}
		return w, err
	})
}
