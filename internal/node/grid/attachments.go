package grid

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// maxAttachment and maxPart bound an attachment and one row of it, in bytes. The tables say the same.
	maxAttachment = 10 << 20
	maxPart       = 1 << 20
	// eraseAtOnce bounds how many attachments one transaction of the sweep erases: they are large.
	eraseAtOnce = 50
)

// endings of file names by media types; what is not among them is not taken.
var endings = map[string]string{
	"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "application/pdf": ".pdf",
	"audio/mpeg": ".mp3", "audio/wave": ".wav", "audio/ogg": ".ogg", "audio/mp4": ".m4a", "audio/aac": ".aac", "audio/amr": ".amr",
}

// mediaTypeOf gives the media type that the first bytes say, whatever anybody calls it; empty if it is not taken. It is pure.
func mediaTypeOf(begin []byte) string {
	has := func(at int, text string) bool { return len(begin) >= at && bytes.HasPrefix(begin[at:], []byte(text)) }
	switch {
	case has(0, "#!AMR"):
		return "audio/amr"
	case has(4, "ftypM4A"):
		return "audio/mp4"
	case len(begin) > 2 && begin[0] == 0xff && begin[1]&0xf6 == 0xf0: // ADTS
		return "audio/aac"
	case len(begin) > 2 && begin[0] == 0xff && begin[1]&0xe6 == 0xe2: // MPEG layer III without a tag before it
		return "audio/mpeg"
	}
	kind, _, _ := strings.Cut(http.DetectContentType(begin), ";")
	if kind == "application/ogg" {
		kind = "audio/ogg"
	}
	if endings[kind] == "" {
		return ""
	}
	return kind
}

// heldAttachment is an attachment in memory, in the parts in which it is written.
type heldAttachment struct {
	mediaType string
	size      int64
	parts     [][]byte
	sum       hash.Hash
}

func (h *heldAttachment) digest() string { return "sha256:" + hex.EncodeToString(h.sum.Sum(nil)) }

var errAttachmentTooLarge = errors.New("attachment is too large")

// takeAttachment reads an attachment. What it is, is looked at before the rest is read.
func takeAttachment(r io.Reader) (*heldAttachment, error) {
	h := &heldAttachment{sum: sha256.New()}
	for {
		part := make([]byte, maxPart)
		n, err := fill(r, part)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if len(h.parts) == 0 {
			if h.mediaType = mediaTypeOf(part[:n]); h.mediaType == "" {
				return nil, huma.Error415UnsupportedMediaType("body.file: by its first bytes it is none of " + strings.Join(slices.Sorted(maps.Keys(endings)), ", ") + "; write one of these")
			}
		}
		if h.size += int64(n); h.size > maxAttachment {
			return nil, errAttachmentTooLarge
		}
		h.sum.Write(part[:n])
		if 0 < n && n < maxPart {
			part = bytes.Clone(part[:n]) // the rest of the megabyte is free again
		}
		if n > 0 {
			h.parts = append(h.parts, part)
		}
		if err != nil {
			return h, nil
		}
	}
}

// fill reads until p is full or r ends, which is io.EOF; io.ReadFull does not tell an end from a form that broke off.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// eraseAfter gives the time after which an attachment of a class may go; nil where a bundle does not say.
func eraseAfter(r contract.Retention, class string, now time.Time) *time.Time {
	seconds := attachmentSeconds(r, class)
	if seconds <= 0 {
		return nil
	}
	t := now.Add(time.Duration(seconds) * time.Second)
	return &t
}

// attachmentSeconds is how long attachments of a class are kept, as notes are.
func attachmentSeconds(r contract.Retention, class string) int64 {
	if seconds, ok := r.NoteClasses[class]; ok && r.NoteSeconds > 0 {
		return seconds
	}
	return r.NoteSeconds
}

// eraseAttachments takes the bytes of attachments away whose time is over: as it was said when they were attached, or as it is now, whatever is sooner,
// and the case is over for as long. It gives how many.
func eraseAttachments(ctx context.Context, tx pgx.Tx, r contract.Retention, now time.Time) (n int64, err error) {
	for _, class := range []string{"C0", "C1", "C2", "C3"} {
		seconds := attachmentSeconds(r, class)
		if seconds <= 0 {
			continue
		}
		tag, err := tx.Exec(ctx, `WITH old AS (SELECT a.id FROM grid.attachments a JOIN grid.cases c ON c.id = a.case_id
				WHERE a.erased_at IS NULL AND a.class = $1 AND (a.at <= $2 OR a.erase_after <= $3) AND NOT c.open AND c.updated_at <= $2 ORDER BY a.at LIMIT $4 FOR UPDATE OF a SKIP LOCKED),
			parts AS (DELETE FROM grid.attachment_parts p USING old WHERE p.id = old.id)
			UPDATE grid.attachments a SET erased_at = $3, erased_by = 'retention' FROM old WHERE a.id = old.id`,
			class, now.Add(-time.Duration(seconds)*time.Second), now, eraseAtOnce-n)
		if n += tag.RowsAffected(); err != nil {
			return n, fmt.Errorf("class %s: %w", class, err)
		}
		if n >= eraseAtOnce {
			break
		}
	}
	return n, nil
}

// uploads are those that run, by who sends them. The zero value is ready.
type uploads struct {
	mu sync.Mutex
	by map[string]bool
}

// take counts an upload, which must be given back; or it says why it may not run now.
func (u *uploads) take(who string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.by[who]:
		return "another attachment of yours is on its way"
	case len(u.by) >= uploadsAtOnce:
		return "too many attachments come at once"
	case u.by == nil:
		u.by = map[string]bool{}
	}
	u.by[who] = true
	return ""
}

func (u *uploads) give(who string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.by, who)
}

func (u *uploads) running() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.by)
}
