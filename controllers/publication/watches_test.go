package publication

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// The first change after a pause is published at once; a flood waits, so that it becomes few publications; platforms do not wait for each other.
func TestTheFirstChangeAfterAPauseGoesAtOnce(t *testing.T) {
	p, at := &pace{}, time.Unix(1000, 0)
	one, other := types.NamespacedName{Name: "one"}, types.NamespacedName{Name: "other"}
	for _, c := range []struct {
		after    time.Duration
		platform types.NamespacedName
		want     time.Duration
	}{
		{0, one, soon}, {10 * time.Millisecond, one, coalesce}, {0, other, soon}, {pause - time.Millisecond, one, coalesce}, {pause, one, soon},
	} {
		at = at.Add(c.after)
		if got := p.wait(c.platform, at); got != c.want {
			t.Errorf("%s at %s waits %s, want %s", c.platform.Name, at.Format("05.000"), got, c.want)
		}
	}
}
