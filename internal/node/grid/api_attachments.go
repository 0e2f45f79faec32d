package grid

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Attachment is a picture, a document or a sound of a case.
type Attachment struct {
	ID         uuid.UUID  `json:"id" format:"uuid" db:"id"`
	At         time.Time  `json:"at" db:"at"`
	MediaType  string     `json:"mediaType" db:"media_type" doc:"As its bytes say."`
	Bytes      int64      `json:"bytes" db:"bytes"`
	Digest     string     `json:"digest" db:"digest" doc:"sha256:… of its bytes."`
	Class      string     `json:"class" db:"class" doc:"Data class: the case's when it was attached."`
	EraseAfter *time.Time `json:"eraseAfter,omitempty" db:"erase_after" doc:"It goes then, or when it is over with the case, whatever is later."`
	ErasedAt   *time.Time `json:"erasedAt,omitempty" db:"erased_at" doc:"Since when its bytes are gone."`
}

const attachmentColumns = "a.id, a.at, a.media_type, a.bytes, a.digest, a.class, a.erase_after, a.erased_at"

// AttachmentList are the attachments of a case, oldest first.
type AttachmentList struct {
	Attachments []Attachment `json:"attachments"`
}

const (
	// maxUpload bounds the body of an upload: an attachment, and what its form has around it.
	maxUpload = maxAttachment + 64<<10
	// uploadsAtOnce bounds how many attachments one replica has in memory (ours).
	uploadsAtOnce = 4
	// transferTime is how long an upload or a download may take (ours): ten times what a slow phone needs.
	transferTime = 2 * time.Minute
	// attachmentsOfCase bounds those of one case (ours).
	attachmentsOfCase = 30
)

// limitBodies bounds what a request may send.
func limitBodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := int64(maxBody)
		if r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/v1/cases/") && strings.HasSuffix(r.URL.Path, "/attachments") {
			limit = maxUpload
		}
		http.MaxBytesHandler(next, limit).ServeHTTP(w, r)
	})
}

type attachInput struct {
	ID      uuid.UUID `path:"id" format:"uuid"`
	Receipt string    `header:"Dizuo-Receipt" maxLength:"64" doc:"The receipt of the report, for whoever reported the case and sees no cases."`
}

type attachmentInput struct {
	ID         uuid.UUID `path:"id" format:"uuid"`
	Attachment uuid.UUID `path:"attachment" format:"uuid"`
}

// requestKey is where an operation finds its request.
type requestKey struct{}

func withRequest(ctx huma.Context, next func(huma.Context)) {
	next(huma.WithValue(ctx, requestKey{}, ctx))
}

func (a *api) registerAttachments() {
	file := &huma.Schema{Type: huma.TypeObject, Required: []string{"file"}, Properties: map[string]*huma.Schema{"file": {Type: huma.TypeString, Format: "binary"}}}
	const path = "/v1/cases/{id}/attachments"
	huma.Register(a.huma, huma.Operation{OperationID: "attach-to-case", Method: http.MethodPost, Path: path, DefaultStatus: http.StatusCreated,
		Summary: "Attach a picture, a PDF or a sound to a case, at most 10 MiB", Middlewares: huma.Middlewares{withRequest}}, a.attach)
	// Said after the operation is there: else the framework reads the whole body itself, and as JSON.
	a.huma.OpenAPI().Paths[path].Post.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"multipart/form-data": {Schema: file}}}
	huma.Register(a.huma, huma.Operation{OperationID: "list-attachments", Method: http.MethodGet, Path: path, Summary: "The attachments of a case"}, a.attachments)
	huma.Register(a.huma, huma.Operation{OperationID: "get-attachment", Method: http.MethodGet, Path: path + "/{attachment}", Summary: "The bytes of an attachment"}, a.attachment)
	huma.Register(a.huma, huma.Operation{OperationID: "erase-attachment", Method: http.MethodDelete, Path: path + "/{attachment}", Summary: "Erase an attachment; that it was there stays",
		DefaultStatus: http.StatusNoContent}, a.eraseAttachment)
}

// attach takes the bytes into memory before it opens a transaction: whoever sends slowly holds no connection to the database and no case. No more than
// uploadsAtOnce are there.
func (a *api) attach(ctx context.Context, in *attachInput) (*output[Attachment], error) {
	if err := a.mayAttach(ctx, a.pool, in); err != nil {
		return nil, a.fail(err)
	}
	who := callerOf(ctx).scope
	if problem := a.uploads.take(who.Organization + "/" + who.Subject); problem != "" {
		return nil, huma.ErrorWithHeaders(huma.Error503ServiceUnavailable(problem+"; try again in some seconds"), http.Header{"Retry-After": {"5"}})
	}
	defer a.uploads.give(who.Organization + "/" + who.Subject)
	r, w := humago.Unwrap(ctx.Value(requestKey{}).(huma.Context))
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(transferTime)) // a server that cannot has its own
	_ = control.SetWriteDeadline(time.Now().Add(transferTime + 30*time.Second))
	file, err := filePart(r)
	if err != nil {
		return nil, err
	}
	held, err := takeAttachment(file)
	if err != nil {
		return nil, refusedUpload(err)
	}
	var out Attachment
	err = pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error { return a.keepAttachment(ctx, tx, in, held, &out) })
	if err != nil {
		return nil, a.fail(err)
	}
	return &output[Attachment]{out}, nil
}

// attachable gives the condition on cases that the caller may attach to, from argument 2 on: those that they see, or the one of their receipt.
func attachable(who caller, in *attachInput) (string, []any) {
	if in.Receipt != "" {
		return "EXISTS (SELECT FROM grid.receipts r WHERE r.case_id = c.id AND r.digest = $2)", []any{receiptDigest(in.Receipt)}
	}
	return who.scope.cases(2)
}

// mayAttach refuses whom keepAttachment would, before anything is sent.
func (a *api) mayAttach(ctx context.Context, q querier, in *attachInput) error {
	who := callerOf(ctx)
	if in.Receipt != "" {
		if err := a.receiptPace.take(who.scope.Organization, who.scope.Subject, a.now()); err != nil {
			return err
		}
	} else if Role(who.scope.Role) == RoleAuditor {
		return huma.Error403Forbidden(fmt.Sprintf("role %q attaches nothing", who.scope.Role))
	}
	where, args := attachable(who, in)
	var state State
	err := q.QueryRow(ctx, "SELECT c.state FROM grid.cases c WHERE c.id = $1 AND "+where, append([]any{in.ID}, args...)...).Scan(&state)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return errNoCase()
	case err != nil:
		return fmt.Errorf("case: %w", err)
	case !state.Open():
		return huma.Error409Conflict(fmt.Sprintf("the case is %s (%s): attach while it is open", state, state.ChineseName()))
	}
	return nil
}

// filePart gives the part named file of a form.
func filePart(r *http.Request) (*multipart.Part, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return nil, huma.Error415UnsupportedMediaType("header Content-Type: an attachment comes as multipart/form-data, with one part named file")
	}
	form := multipart.NewReader(r.Body, params["boundary"])
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return nil, huma.Error422UnprocessableEntity("body: the form has no part named file")
		}
		if err != nil {
			return nil, refusedUpload(err)
		}
		if part.FormName() == "file" {
			return part, nil
		}
	}
}

// refusedUpload gives the status of what is wrong with an upload.
func refusedUpload(err error) error {
	var tooLarge *http.MaxBytesError
	var status huma.StatusError
	switch {
	case errors.As(err, &status):
		return err
	case errors.As(err, &tooLarge), errors.Is(err, errAttachmentTooLarge):
		return huma.Error413RequestEntityTooLarge("an attachment has 10 MiB at most")
	}
	return huma.Error400BadRequest("body: the form broke off, or is none")
}

// keepAttachment writes an attachment; the case is locked after its parts are written.
func (a *api) keepAttachment(ctx context.Context, tx pgx.Tx, in *attachInput, held *heldAttachment, out *Attachment) error {
	who, now := callerOf(ctx), a.now().UTC()
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("attachment: %w", err)
	}
	var class string
	if err := tx.QueryRow(ctx, "SELECT coalesce(nullif(data_class, ''), 'C3') FROM grid.cases WHERE id = $1", in.ID).Scan(&class); err != nil {
		return fmt.Errorf("case: %w", err)
	}
	*out = Attachment{ID: id, At: now, MediaType: held.mediaType, Bytes: held.size, Digest: held.digest(), Class: class, EraseAfter: eraseAfter(who.bundle.Directory.Platform.Retention, class, now)}
	if _, err := tx.Exec(ctx, "INSERT INTO grid.attachments (id, case_id, at, media_type, bytes, digest, class, erase_after) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
		id, in.ID, now, out.MediaType, out.Bytes, out.Digest, class, out.EraseAfter); err != nil {
		return fmt.Errorf("attachment: %w", err)
	}
	for n := range held.parts {
		if _, err := tx.Exec(ctx, "INSERT INTO grid.attachment_parts (id, n, data) VALUES ($1, $2, $3)", id, n, held.parts[n]); err != nil {
			return fmt.Errorf("part %d of an attachment: %w", n, err)
		}
		held.parts[n] = nil
	}
	where, args := attachable(who, in)
	c, err := oneCase(ctx, tx, "c.id = $1 AND "+where+forChange, append([]any{in.ID}, args...)...)
	if err != nil {
		return err
	}
	if c == nil || !c.State.Open() {
		return errNoCase() // since it was asked
	}
	var there int
	if err := tx.QueryRow(ctx, "SELECT count(*) FROM grid.attachments WHERE case_id = $1", c.ID).Scan(&there); err != nil {
		return fmt.Errorf("attachments of case %s: %w", c.Number, err)
	}
	if there > attachmentsOfCase {
		return huma.Error409Conflict(fmt.Sprintf("case %s has %d attachments, which is the most", c.Number, attachmentsOfCase))
	}
	by := who.scope.actor()
	return record(ctx, tx, c, "Attached", c.State, by, now, detail{"attachment": id, "mediaType": out.MediaType, "bytes": out.Bytes, "digest": out.Digest})
}

func (a *api) attachments(ctx context.Context, in *idInput) (*output[AttachmentList], error) {
	where, args := callerOf(ctx).scope.cases(2)
	args = append([]any{in.ID}, args...)
	var there bool
	if err := a.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM grid.cases c WHERE c.id = $1 AND "+where+")", args...).Scan(&there); err != nil {
		return nil, a.fail(err)
	}
	if !there {
		return nil, errNoCase()
	}
	rows, err := a.pool.Query(ctx, "SELECT "+attachmentColumns+" FROM grid.attachments a JOIN grid.cases c ON c.id = a.case_id WHERE c.id = $1 AND "+where+" ORDER BY a.id", args...)
	if err != nil {
		return nil, a.fail(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[Attachment])
	if err != nil {
		return nil, a.fail(err)
	}
	return &output[AttachmentList]{AttachmentList{list}}, nil
}

// oneAttachment reads what is known of an attachment of a case that the caller sees.
func (a *api) oneAttachment(ctx context.Context, in *attachmentInput) (*Attachment, error) {
	where, args := callerOf(ctx).scope.cases(3)
	rows, err := a.pool.Query(ctx, "SELECT "+attachmentColumns+" FROM grid.attachments a JOIN grid.cases c ON c.id = a.case_id WHERE c.id = $1 AND a.id = $2 AND "+where,
		append([]any{in.ID, in.Attachment}, args...)...)
	if err != nil {
		return nil, a.fail(err)
	}
	at, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[Attachment])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, huma.Error404NotFound("no such attachment")
	}
	if err != nil {
		return nil, a.fail(err)
	}
	return at, nil
}

// attachment sends one part after the other, each read by itself: a slow reader holds one part in memory, and no connection to the database. When
// the attachment is erased meanwhile, the answer breaks off.
func (a *api) attachment(ctx context.Context, in *attachmentInput) (*huma.StreamResponse, error) {
	at, err := a.oneAttachment(ctx, in)
	if err != nil {
		return nil, err
	}
	if at.ErasedAt != nil {
		return nil, huma.Error410Gone("the attachment was erased")
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		_, w := humago.Unwrap(hc)
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(transferTime))
		for name, value := range map[string]string{
			"Content-Type": at.MediaType, "Content-Length": strconv.FormatInt(at.Bytes, 10), "Content-Disposition": fmt.Sprintf(`attachment; filename="%s%s"`, at.ID, endings[at.MediaType]),
			"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "private, no-store",
		} {
			hc.SetHeader(name, value)
		}
		hc.SetStatus(http.StatusOK)
		for n, left := 0, at.Bytes; left > 0; n++ {
			var data []byte
			err := a.pool.QueryRow(ctx, "SELECT data FROM grid.attachment_parts WHERE id = $1 AND n = $2", at.ID, n).Scan(&data)
			if err == nil && len(data) > 0 {
				_, err = w.Write(data)
			}
			if err != nil || len(data) == 0 {
				a.log.Debug("attachment", "id", at.ID, "err", err)
				panic(http.ErrAbortHandler) // a short answer must not look whole
			}
			left -= int64(len(data))
		}
	}}, nil
}

// eraseAttachment takes the bytes away; what it was, and who erased it, stay with the case.
func (a *api) eraseAttachment(ctx context.Context, in *attachmentInput) (*struct{}, error) {
	err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		who, now := callerOf(ctx), a.now().UTC()
		c, err := lockSeen(ctx, tx, who.scope, in.ID)
		if err != nil {
			return err
		}
		parties, err := partiesOf(ctx, tx, c.ID)
		if err != nil {
			return err
		}
		if r := Role(who.scope.Role); r != RoleDispatcher && r != RoleCommunityWorker || !mayAct(who.bundle.Directory, who.scope.Organization, c, parties) {
			return huma.Error403Forbidden(fmt.Sprintf("role %q of organization %q may not erase what is attached to case %s; Dispatcher and CommunityWorker of who was called to it may", r, who.scope.Organization, c.Number))
		}
		done, err := tx.Exec(ctx, `WITH gone AS (UPDATE grid.attachments SET erased_at = $3, erased_by = $4 WHERE id = $1 AND case_id = $2 AND erased_at IS NULL RETURNING id),
				parts AS (DELETE FROM grid.attachment_parts p USING gone WHERE p.id = gone.id) SELECT id FROM gone`, in.Attachment, c.ID, now, who.scope.Organization+"/"+who.scope.Subject)
		if err != nil {
			return fmt.Errorf("erase an attachment: %w", err)
		}
		if done.RowsAffected() == 0 {
			return huma.Error404NotFound("no such attachment, or it was erased")
		}
		return record(ctx, tx, c, "AttachmentErased", c.State, who.scope.actor(), now, detail{"attachment": in.Attachment})
	})
	if err != nil {
		return nil, a.fail(err)
	}
	return nil, nil
}
