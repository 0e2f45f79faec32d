package story

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// exitDenied is the exit code of `dizuo read` for a refusal with reasons.
const exitDenied = 4

// reader is who reads: an organisation, and one of its people.
type reader struct{ organization, subject, role, purpose string }

var (
	officer = reader{bureau, "officer-story", "CivilAffairsOfficer", "HomeVisit"}
	manager = reader{property, "manager-story", "PropertyManager", "CoManagement"}
)

// read gives the arguments of `dizuo read`.
func (t *teller) read(r reader, more ...string) []string {
	return append([]string{"read", dataset, "-o", "json", "--server", t.gateway.URL(), "--secret", namespace + "/" + r.organization + "-gateway-tls",
		"--organization", r.organization, "--subject", r.subject, "--role", r.role, "--platform", namespace + "/" + platform, "--purpose", r.purpose}, more...)
}

// share fills the dataset and reads it as two organisations.
func (t *teller) share(ctx context.Context) error {
	if err := t.seed(ctx); err != nil {
		return err
	}
	out, err := t.run(ctx, t.Dizuo, t.read(officer)...)
	if err != nil {
		return err
	}
	if err := t.checkRecords(out); err != nil {
		return err
	}
	_, text, err := t.mustFail(ctx, t.Dizuo, t.read(officer, "--fields", "careLevel")...)
	if err != nil {
		return err
	}
	t.print.Output(text, 1)
	t.print.Seen(0, "a field that the agreement does not give is refused")
	if err := t.refuseProperty(ctx); err != nil {
		return err
	}
	return t.checkLog(ctx)
}

func (t *teller) seed(ctx context.Context) error {
	path := filepath.Join(t.Root, samplesDir, "seed", "elder_visits.sql")
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	args := []string{"exec", "-n", namespace, "-i", "dizuo-postgres-0", "--", "psql", "-q", "-v", "ON_ERROR_STOP=1", "-U", "dizuo", "-d", "dizuo"}
	t.print.Shell("kubectl " + quote(args) + " < " + filepath.Join(samplesDir, "seed", "elder_visits.sql"))
	if _, err := t.quiet(ctx, f, t.Kubectl, args...); err != nil {
		return err
	}
	n, err := t.sql(ctx, "SELECT count(*) || ' rows in ' || count(DISTINCT left(division, 4)) || ' cities' FROM datasets.elder_visits")
	t.print.Seen(0, "the dataset holds %s (synthetic)", n)
	return err
}

type records struct {
	Records   []map[string]any
	Agreement string
	Request   string
}

var (
	lastFour = regexp.MustCompile(`^[^0-9]*[0-9]{4}$`)
	onlyYear = regexp.MustCompile(`^[12][0-9]{3}(-01-01)?$`)
)

// checkRecords holds an answer against what the agreement permits: own city, masked fields, none beside.
func (t *teller) checkRecords(out string) error {
	var answer records
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return fmt.Errorf("read: %w: %s", err, out)
	}
	if len(answer.Records) != 4 {
		return fmt.Errorf("%s got %d records, want the 4 of its own city: %s", bureau, len(answer.Records), out)
	}
	for _, r := range answer.Records {
		if err := checkRecord(r); err != nil {
			return err
		}
	}
	first, err := json.Marshal(answer.Records[0])
	if err != nil {
		return err
	}
	t.allowed = answer.Request
	t.print.Output(string(first), 1)
	t.print.Seen(0, "%d records, all of %s; name as a pseudonym, last 4 digits of the telephone, year of birth; careLevel is not there", len(answer.Records), division)
	return nil
}

func checkRecord(r map[string]any) error {
	text := func(field string) string { s, _ := r[field].(string); return s }
	name, phone := text("name"), text("phone")
	switch _, level := r["careLevel"]; {
	case level:
		return fmt.Errorf("a record holds careLevel, which the agreement does not give: %v", r)
	case text("division") != division:
		return fmt.Errorf("a record of division %q came, want %s only", text("division"), division)
	case name == "" || strings.Contains(name, "合成"):
		return fmt.Errorf("name %q is not a pseudonym", name)
	case phone != "" && !lastFour.MatchString(phone):
		return fmt.Errorf("phone %q shows more than its last 4 digits", phone)
	case !onlyYear.MatchString(text("birthDate")):
		return fmt.Errorf("birthDate %q shows more than the year", text("birthDate"))
	}
	return nil
}

// request finds the number of a request in a refusal that the CLI printed.
var request = regexp.MustCompile(`request ([0-9a-f-]{36}) in the decision log`)

func (t *teller) refuseProperty(ctx context.Context) error {
	code, text, err := t.mustFail(ctx, t.Dizuo, t.read(manager)...)
	if err != nil {
		return err
	}
	m := request.FindStringSubmatch(text)
	if code != exitDenied || !strings.Contains(text, "reasons: ") || m == nil {
		return fmt.Errorf("%s was not refused with a reason: exit code %d: %s", property, code, text)
	}
	t.denied = m[1]
	t.print.Output(text, 1)
	var a struct {
		Status struct {
			Guardrails []struct{ ID, Message string }
		}
	}
	if err := t.object(ctx, &a, "datasharingagreement", "-n", namespace, refused); err != nil {
		return err
	}
	if len(a.Status.Guardrails) == 0 {
		return fmt.Errorf("agreement %s names no guardrail that stopped it", refused)
	}
	t.print.Seen(0, "%s is refused: guardrail %s keeps its agreement from coming into force", property, a.Status.Guardrails[0].ID)
	return nil
}

// checkLog verifies the gateway's decision log and finds both decisions in it.
func (t *teller) checkLog(ctx context.Context) error {
	dir, err := t.logDir(ctx)
	if err != nil {
		return err
	}
	want := map[string]bool{t.allowed: true, t.denied: false}
	var found []decisionlog.Line
	summary, err := decisionlog.Verify(dir, func(l decisionlog.Line) {
		if allow, ok := want[l.Request]; ok && l.Kind == contract.LogDecision && l.Said.Decision.Allow == allow {
			found = append(found, l)
		}
	})
	if err != nil {
		return err
	}
	if len(found) != len(want) {
		return fmt.Errorf("the decision log holds %d of the decisions on requests %s (allowed) and %s (denied)", len(found), t.allowed, t.denied)
	}
	for _, l := range found {
		in, d := l.Said.Input, l.Said.Decision
		var who contract.Person
		if in.Person != nil {
			who = *in.Person
		}
		t.print.Output(fmt.Sprintf("%s #%d allow=%t %s by %s %v agreement=%s reasons=%v", l.At.Format(time.RFC3339), l.Sequence, d.Allow, in.Consumer, who.Subject, who.Roles, d.Agreement, d.Reasons), 1)
	}
	t.print.Seen(0, "both decisions are in the log; its chain of %d lines is consistent (without a witness: internally consistent only)", summary.Records)
	return nil
}

// logDir finds the gateway's volume on this machine. The image has no shell to read it with, by intent.
func (t *teller) logDir(ctx context.Context) (fs.FS, error) {
	path, err := volume(ctx, t, "data-dizuo-gateway-0")
	if err != nil {
		return nil, err
	}
	return os.DirFS(filepath.Join(path, "decisions")), nil
}

// volume gives the folder on this machine that a claim of the platform is bound to.
func volume(ctx context.Context, t *teller, claim string) (string, error) {
	var pvc struct{ Spec struct{ VolumeName string } }
	if err := t.object(ctx, &pvc, "pvc", "-n", namespace, claim); err != nil {
		return "", err
	}
	var pv struct {
		Spec struct{ Local struct{ Path string } }
	}
	if err := t.object(ctx, &pv, "pv", pvc.Spec.VolumeName); err != nil {
		return "", err
	}
	if _, err := os.Stat(pv.Spec.Local.Path); err != nil || pv.Spec.Local.Path == "" {
		return "", fmt.Errorf("volume %s of claim %s is not a folder of this machine; tell the story on the node of the local cluster: %w", pvc.Spec.VolumeName, claim, err)
	}
	return pv.Spec.Local.Path, nil
}

// revoke deletes the agreement and measures until the next read is refused; then puts it back.
func (t *teller) revoke(ctx context.Context) error {
	client, err := t.client(ctx, bureau+"-gateway-tls")
	if err != nil {
		return err
	}
	token, err := t.quiet(ctx, nil, t.Dizuo, "token", "--for", "gateway", "--platform", namespace+"/"+platform, "--secret", namespace+"/"+bureau+"-gateway-tls",
		"--organization", bureau, "--subject", officer.subject, "--role", officer.role)
	if err != nil {
		return err
	}
	ask := func() (int, []string, error) { return t.ask(ctx, client, strings.TrimSpace(token)) }
	if status, reasons, err := ask(); err != nil || status != http.StatusOK {
		return fmt.Errorf("before the agreement is deleted: status %d %v: %w", status, reasons, err)
	}
	began := time.Now()
	if _, err := t.run(ctx, t.Kubectl, "delete", "datasharingagreement", "-n", namespace, agreement, "--wait=false"); err != nil {
		return err
	}
	_, err = until(ctx, 30*time.Second, 20*time.Millisecond, func() (bool, string, error) {
		status, reasons, err := ask()
		return status == http.StatusForbidden && slices.Contains(reasons, "NoAgreement"), fmt.Sprintf("the last read got %d %v", status, reasons), err
	})
	if err != nil {
		return err
	}
	t.print.Seen(0, "the next read is refused: NoAgreement")
	t.measured("agreement_deleted_to_denied", float64(time.Since(began).Milliseconds()), "ms", 1000)
	return t.agree(ctx, ask)
}

// agree puts the agreement back and waits until it can be read under again.
func (t *teller) agree(ctx context.Context, ask func() (int, []string, error)) error {
	began := time.Now()
	if err := t.applySample(ctx, "DataSharingAgreement", agreement); err != nil {
		return err
	}
	_, err := until(ctx, 30*time.Second, 20*time.Millisecond, func() (bool, string, error) {
		status, reasons, err := ask()
		return status == http.StatusOK, fmt.Sprintf("the last read got %d %v", status, reasons), err
	})
	t.print.Seen(time.Since(began), "applied again, signatures and all, it is in force again")
	return err
}

// ask reads one page and gives the status, and the reasons of a refusal.
func (t *teller) ask(ctx context.Context, client *http.Client, token string) (int, []string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.gateway.URL()+"/v1/datasets/"+dataset+"/records?limit=1&purpose="+officer.purpose, nil)
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Dizuo-Person", token)
	answer, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	var problem struct{ Reasons []string }
	if err := json.NewDecoder(answer.Body).Decode(&problem); err != nil {
		return answer.StatusCode, nil, fmt.Errorf("answer of the gateway: %w", err)
	}
	return answer.StatusCode, problem.Reasons, nil
}

// applySample applies one object of the sample and nothing else.
func (t *teller) applySample(ctx context.Context, kind, name string) error {
	all, err := t.quiet(ctx, nil, t.Kubectl, "kustomize", filepath.Join(t.Root, samplesDir))
	if err != nil {
		return err
	}
	for _, doc := range strings.Split(all, "\n---\n") {
		if strings.Contains("\n"+doc, "\nkind: "+kind+"\n") && strings.Contains(doc, "\n  name: "+name+"\n") {
			t.print.Shell("kubectl apply -f -   # " + kind + "/" + name + " of " + samplesDir)
			_, err := t.quiet(ctx, strings.NewReader(doc), t.Kubectl, "apply", "-f", "-")
			return err
		}
	}
	return errors.New(samplesDir + " has no " + kind + " " + name)
}
