package dizuo.access_test

# An agreement on counts and sums beside records, and one on nothing else.
counting := {"smallCell": 10, "dimensions": ["community"], "measures": ["phone"]}

counts(change) := with_grant({"aggregates": object.union(counting, change)})

asking(aggregate) := object.union(ask, {"aggregate": aggregate})

figures := {"by": ["community"], "sum": ["phone"]}

allowed(request, table) if decide(request, table).allow

test_aggregates_that_were_agreed if allowed(asking(figures), counts({}))

test_aggregates_of_an_agreement_on_nothing_else if allowed(asking(figures), counts({"only": true}))

test_one_figure_for_all if allowed(asking({}), counts({}))

test_records_beside_aggregates if allowed(ask, counts({"only": false}))

test_records_of_an_agreement_on_nothing_else if refuse(ask, counts({"only": true}), ["AggregatesOnly"])

# A malformed fact refuses.
test_records_where_only_is_no_boolean if refuse(ask, counts({"only": "yes"}), ["AggregatesOnly"])

test_aggregates_that_were_not_agreed if refuse(asking({}), grants, ["AggregatesNotGranted"])

test_groups_of_one_are_no_aggregates if {
	refuse(asking({}), counts({"smallCell": 1}), ["AggregatesNotGranted"])
	refuse(asking({}), with_grant({"aggregates": {}}), ["AggregatesNotGranted"])
}

test_a_field_that_is_no_dimension if refuse(asking({"by": ["phone"]}), counts({}), ["DimensionNotGranted"])

test_an_agreement_without_dimensions if {
	table := with_grant({"aggregates": {"smallCell": 10}})
	refuse(asking({"by": ["community"]}), table, ["DimensionNotGranted"])
}

test_a_condition_on_a_field_that_is_no_dimension if {
	request := object.union(asking(figures), {"filter": [{"field": "phone", "operator": "In", "values": ["1"]}]})
	refuse(request, counts({}), ["DimensionNotGranted"])
}

test_a_condition_on_a_dimension if allowed(object.union(asking(figures), {"filter": [{"field": "community", "operator": "In", "values": ["1"]}]}), counts({}))

test_a_field_that_is_no_measure if refuse(asking({"sum": ["community"]}), counts({}), ["MeasureNotGranted"])
