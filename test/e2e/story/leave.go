package story

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// vendors shows that a vendor lists its own fleets and no others.
func (t *teller) vendors(ctx context.Context) error {
	as := []string{"--as", "smoke-engineer", "--as-group", smokeSpace}
	out, err := t.run(ctx, t.Kubectl, append(as, "get", "devicefleets", "-n", smokeSpace)...)
	if err != nil {
		return err
	}
	t.print.Output(out, 0)
	for _, args := range [][]string{
		{"get", "devicefleets", "-n", doorSpace}, {"get", "devicefleets", "-A"}, {"get", "secrets", "-n", doorSpace}, {"get", "communities", "-n", namespace},
	} {
		_, text, err := t.mustFail(ctx, t.Kubectl, append(as, args...)...)
		if err != nil {
			return err
		}
		if !strings.Contains(text, "Forbidden") {
			return fmt.Errorf("kubectl %s failed, but not for want of rights: %s", quote(args), text)
		}
		t.print.Output(text, 1)
	}
	t.print.Seen(0, "the vendor of smoke detectors sees its own fleet; the other vendor's, and the platform's objects, are forbidden")
	return nil
}

// leave deletes a community and checks what goes and what stays; then puts it back.
func (t *teller) leave(ctx context.Context) error {
	broker := "ssl://localhost:" + t.broker.Port
	leaving, err := connect(broker, t.certs(), t.brokerCA(), smokeFleet, t.device)
	if err != nil {
		return fmt.Errorf("device %s: %w", t.device, err)
	}
	defer leaving.close()
	staying, err := connect(broker, t.certs(), t.brokerCA(), smokeFleet, "sd-huaqiangcheng-01")
	if err != nil {
		return fmt.Errorf("device sd-huaqiangcheng-01: %w", err)
	}
	defer staying.close()
	home, err := t.quiet(ctx, nil, t.Kubectl, "get", "namespace", neighbourHome, "-o", "jsonpath={.metadata.uid}")
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := t.run(ctx, t.Kubectl, "delete", "community", "-n", namespace, community, "--wait=false"); err != nil {
		return err
	}
	if err := t.gone(ctx, leaving, began); err != nil {
		return err
	}
	if err := t.untouched(ctx, staying, home); err != nil {
		return err
	}
	return t.comeBack(ctx)
}

// gone checks that nothing of the community is left: its devices' access, its rows, its workspace.
func (t *teller) gone(ctx context.Context, leaving *holder, began time.Time) error {
	select {
	case <-leaving.lost:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(30 * time.Second):
		return fmt.Errorf("device %s of the deleted community stays connected", t.device)
	}
	t.print.Seen(0, "its device %s is cut off", t.device)
	t.measured("community_deleted_to_device_cut", float64(time.Since(began).Milliseconds()), "ms", 0)
	_, text, err := t.mustFail(ctx, "mosquitto_pub", t.mosquitto(t.device, contract.ClientID(smokeFleet, t.device),
		contract.DeviceTopic(smokeFleet, t.device, contract.ChannelSignal), `{"smoke":true}`)...)
	if err != nil {
		return err
	}
	t.print.Output(text, 1)
	took, err := until(ctx, 20*time.Second, 200*time.Millisecond, func() (bool, string, error) {
		n, err := t.rows(ctx)
		return n == 0, fmt.Sprintf("%d records of it can still be read", n), err
	})
	if err != nil {
		return err
	}
	t.print.Seen(took, "civil affairs reads no record of it any more; the rows themselves stay in the source")
	if _, err := t.run(ctx, t.Kubectl, "wait", "--for=delete", "--timeout=120s", "namespace/"+workspace, "-n", namespace, "community/"+community); err != nil {
		return err
	}
	t.print.Seen(time.Since(began), "its workspace namespace %s is gone", workspace)
	return nil
}

// rows counts what civil affairs can read. A refusal counts as none.
func (t *teller) rows(ctx context.Context) (int, error) {
	out, err := t.quiet(ctx, nil, t.Dizuo, t.read(officer)...)
	var f *failed
	if errors.As(err, &f) && f.code == exitDenied {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var answer records
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return 0, fmt.Errorf("read: %w: %s", err, out)
	}
	return len(answer.Records), nil
}

// untouched checks the neighbours.
func (t *teller) untouched(ctx context.Context, staying *holder, home string) error {
	topic := contract.DeviceTopic(smokeFleet, "sd-huaqiangcheng-01", contract.ChannelTelemetry)
	if err := errors.Join(staying.publish(topic, `{"battery":90}`), staying.holds()); err != nil {
		return fmt.Errorf("a neighbour's device: %w", err)
	}
	now, err := t.quiet(ctx, nil, t.Kubectl, "get", "namespace", neighbourHome, "-o", "jsonpath={.metadata.uid}")
	if err != nil {
		return err
	}
	if now != home {
		return fmt.Errorf("the workspace of %s was made anew", neighbour)
	}
	if _, err := t.run(ctx, t.Kubectl, "wait", "--for=condition=Ready", "--timeout=60s", "-n", namespace, "communities", "--all"); err != nil {
		return err
	}
	t.print.Seen(0, "the nine others are Ready, the workspace of %s is the same, its detector never lost its connection", neighbour)
	return nil
}

// comeBack applies the whole sample again and waits until all is as before.
func (t *teller) comeBack(ctx context.Context) error {
	began := time.Now()
	if _, err := t.run(ctx, t.Kubectl, "apply", "-k", filepath.Join(t.Root, samplesDir)); err != nil {
		return err
	}
	if err := t.waitReady(ctx); err != nil {
		return err
	}
	_, err := until(ctx, 30*time.Second, 200*time.Millisecond, func() (bool, string, error) {
		n, err := t.rows(ctx)
		return n == 4, fmt.Sprintf("%d records can be read, want 4", n), err
	})
	if err != nil {
		return err
	}
	_, err = t.quiet(ctx, nil, t.Kubectl, "get", "namespace", workspace)
	t.print.Seen(time.Since(began), "applied again, the community is back with its workspace and its rows")
	return err
}

// look shows the tree once more, and waits for what comes late: the count of the intruder's messages.
func (t *teller) look(ctx context.Context) error {
	var now int64
	took, err := until(ctx, 120*time.Second, time.Second, func() (ok bool, _ string, err error) {
		now, err = t.violations(ctx)
		return now > t.violated, "the fleet's status counts no more violations than before", err
	})
	if err != nil {
		return err
	}
	t.print.Seen(took, "the status of fleet %s counts %d messages outside the rights of their device", smokeFleet, now-t.violated)
	if err := t.memory(ctx, "after_story"); err != nil {
		return err
	}
	return t.tree(ctx)
}

// violations reads how many messages outside their rights the status of the fleet counts.
func (t *teller) violations(ctx context.Context) (int64, error) {
	var fleet struct{ Status struct{ Violations int64 } }
	err := t.object(ctx, &fleet, "devicefleet", "-n", smokeSpace, smokeFleet)
	return fleet.Status.Violations, err
}
