package story

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dizuo/dizuo/test/bench/figure"
)

// Env says where the story is told. Kubectl's own environment (KUBECONFIG) names the cluster.
type Env struct {
	// Root of the checkout.
	Root string
	// Dizuo and Kubectl are the commands to run.
	Dizuo, Kubectl string
	// Memory is the command that prints the working set of every container of a namespace as JSON; its last argument is
	// the namespace. Without it memory is not measured.
	Memory []string
	// Figures is the file that measured figures are written to (JSON); empty writes none.
	Figures string
}

// Names of objects in config/samples/henan-pilots.
const (
	platform      = "henan"
	namespace     = "henan"
	samplesDir    = "config/samples/henan-pilots"
	smokeFleet    = "smoke"
	smokeSpace    = "henan-vendor-smoke"
	doorFleet     = "doors"
	doorSpace     = "henan-vendor-door"
	community     = "jinghu"
	division      = "410103014006"
	holderDevice  = "sd-jinghu-01"
	otherDevice   = "sd-shiweiyuan-01"
	otherPlace    = "shiweiyuan"
	doorDevice    = "dd-jinghu-01"
	brigade       = "zhengzhou-fire"
	committee     = "jinghu-committee"
	bureau        = "zhengzhou-civil-affairs"
	property      = "jinghu-property"
	dataset       = "elder-visits"
	agreement     = "civil-affairs-elder-visits"
	refused       = "property-elder-visits"
	workspace     = "henan-jinghu"
	neighbour     = "huaqiangcheng"
	neighbourHome = "henan-huaqiangcheng"
	worker        = "gw-story"
	officeWorker  = "cw-story"
)

// teller is one telling of the story.
type teller struct {
	Env
	print Printer
	// dir holds keys and certificates for the time of the telling.
	dir string
	// device is registered anew for each telling, so that an alarm of the last one cannot be taken for this one's.
	device string
	// ports forwarded to the platform's services.
	broker, grid, gateway *Forward
	figures               []figure.Figure
	// caseID and caseNumber of the case that the alarm opened.
	caseID, caseNumber string
	// violated is the fleet's count of violations before the intrusion.
	violated int64
	// allowed and denied are requests that the decision log must hold.
	allowed, denied string
}

// step is one chapter.
type step struct {
	title string
	run   func(*teller, context.Context) error
}

var steps = []step{
	{"A county stands up from YAML / 一份 YAML，一个平台", (*teller).standUp},
	{"A vendor registers and enrols a smoke detector of 荆胡社区", (*teller).enrol},
	{"The detector reports smoke; a case is filed, and the city's fire brigade is told", (*teller).alarm},
	{"The same detector tries to be another one", (*teller).intrude},
	{"A grid worker acknowledges the case and closes it", (*teller).work},
	{"Civil affairs reads what it may read; the property company is refused", (*teller).share},
	{"The agreement is deleted: the next read is refused", (*teller).revoke},
	{"A vendor sees its own fleets and nobody else's", (*teller).vendors},
	{"A community is deleted: its access goes, its neighbours stay", (*teller).leave},
	{"What the platform says of it all", (*teller).look},
}

// Run tells the whole story. It stops at the first step that fails; samples that it had deleted by then are applied again.
func Run(ctx context.Context, env Env, p Printer) (err error) {
	dir, err := os.MkdirTemp("", "dizuo-story-")
	if err != nil {
		return err
	}
	t := &teller{Env: env, print: p, dir: dir, device: "sd-story-" + time.Now().UTC().Format("0102-150405")}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		t.broker.Close()
		t.grid.Close()
		t.gateway.Close()
		cancel()
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	began := time.Now()
	for i, s := range steps {
		p.Step(i+1, len(steps), s.title)
		if err := s.run(t, ctx); err != nil {
			return errors.Join(fmt.Errorf("step %d, %s: %w", i+1, s.title, err), t.restore(ctx))
		}
	}
	p.End(time.Since(began))
	return figure.Write(env.Figures, t.figures)
}

// restore applies the samples again after a failed step.
func (t *teller) restore(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	_, err := t.quiet(ctx, nil, t.Kubectl, "apply", "-k", filepath.Join(t.Root, samplesDir))
	return err
}

// measured records a figure of which less is better, and shows it.
func (t *teller) measured(name string, value float64, unit string, target float64) {
	f := figure.AtMost(name, value, unit, target)
	t.figures = append(t.figures, f)
	t.print.Figure(f)
}
