package grid

import (
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/time/rate"
)

// How fast receipts are tried (ours): by one person what somebody who looks at their own report needs, and by one organisation, whose residents
// report through one app, far less than it takes to keep the database from others.
const (
	receiptsEach         = rate.Limit(1)
	receiptsEachAtOnce   = 10
	receiptsOfOrg        = rate.Limit(20)
	receiptsOfOrgAtOnce  = 100
	receiptPeopleAtMost  = 10_000
	receiptRefusedAnswer = "too many receipts were tried; wait a minute"
)

// receiptPace bounds how fast receipts are tried. The zero value is ready.
type receiptPace struct {
	mu     sync.Mutex
	people map[[2]string]*rate.Limiter
	orgs   map[string]*rate.Limiter
}

// take counts a try; the error says that it is one too many. Organisations come from the directory; when there are too many people, all begin
// anew, and their organisations' limits hold.
func (p *receiptPace) take(organization, person string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.people == nil || len(p.people) >= receiptPeopleAtMost {
		p.people = map[[2]string]*rate.Limiter{}
	}
	if p.orgs == nil {
		p.orgs = map[string]*rate.Limiter{}
	}
	who := [2]string{organization, person}
	if p.people[who] == nil {
		p.people[who] = rate.NewLimiter(receiptsEach, receiptsEachAtOnce)
	}
	if p.orgs[organization] == nil {
		p.orgs[organization] = rate.NewLimiter(receiptsOfOrg, receiptsOfOrgAtOnce)
	}
	if !p.people[who].AllowN(now, 1) || !p.orgs[organization].AllowN(now, 1) {
		return huma.Error429TooManyRequests(receiptRefusedAnswer)
	}
	return nil
}
