"""Actions as their authors write them: the text matters, because it is echoed."""

# ruff: noqa: E501 - copied as they were published

NEW_QUEUE = r"""{
  "identifier": "new_queue",
  "title": "Create queue",
  "icon": "Queue",
  "trigger": {
    "type": "self-service",
    "operation": "CREATE",
    "actionCardButtonText": "Order",
    "userInputs": {
      "properties": {
        "broker": {"type": "string", "title": "Broker", "enum": ["rabbit", "nats"], "enumColors": {"rabbit": "yellow", "nats": "blue"}},
        "flavour": {"type": "string", "enum": {"jqQuery": "if .form.broker == \"rabbit\" then [\"quorum\",\"classic\"] else [\"jetstream\"] end"}, "dependsOn": ["broker"]},
        "name": {"type": "string", "minLength": 3, "maxLength": 40, "pattern": {"jqQuery": "if .form.broker == \"nats\" then \"^[a-z.]+$\" else \"^[a-z-]+$\" end"}},
        "replicas": {"type": "number", "minimum": 1, "maximum": 5, "default": 3},
        "owners": {"type": "array", "items": {"type": "string", "format": "user"}, "minItems": 1, "maxItems": {"jqQuery": "if .form.broker == \"nats\" then 2 else 4 end"}}
      },
      "titles": {"sec-people": {"title": "People", "description": "Who answers the pager", "visible": {"jqQuery": ".form.broker != \"\""}}},
      "required": ["broker", "name"],
      "order": ["broker", "flavour", "name", "replicas", "sec-people", "owners"]
    }
  },
  "invocationMethod": {"type": "WEBHOOK", "url": "https://hooks.example.org/queues", "method": "POST", "body": {"in": "{{ .inputs }}", "run": "{{ .run.id }}"}}
}
"""
MOVE_WORKLOAD = r"""{
  "identifier": "move_workload",
  "trigger": {
    "type": "self-service",
    "operation": "DAY-2",
    "blueprintIdentifier": "workload",
    "condition": {"type": "SEARCH", "combinator": "and", "rules": [{"property": "frozen", "operator": "!=", "value": true}]},
    "userInputs": {
      "properties": {
        "cluster": {"type": "string", "format": "entity", "blueprint": "cluster", "sort": {"property": "$title", "order": "ASC"}},
        "namespace": {
          "type": "string", "format": "entity", "blueprint": "namespace", "dependsOn": ["cluster"],
          "dataset": {"combinator": "and", "rules": [
            {"operator": "relatedTo", "blueprint": "cluster", "value": {"jqQuery": ".form.cluster.identifier"}},
            {"combinator": "or", "rules": [
              {"property": "$team", "operator": "containsAny", "value": {"context": "userTeams", "property": "$identifier"}},
              {"property": "shared", "operator": "=", "value": true}
            ]}
          ]}
        },
        "reason": {"type": "string", "format": "multi-line", "visible": {"jqQuery": ".entity.properties.tier == \"gold\""}},
        "labels": {"type": "array", "disabled": true, "default": {"jqQuery": ".entity.properties.labels"}, "items": {"type": "string"}}
      },
      "required": {"jqQuery": "if .entity.properties.tier == \"gold\" then [\"cluster\",\"namespace\",\"reason\"] else [\"cluster\",\"namespace\"] end"},
      "steps": [
        {"title": "Target", "order": ["cluster", "namespace"]},
        {"title": "Details", "order": ["reason", "labels"], "visible": {"jqQuery": ".form.namespace != null"}}
      ]
    }
  },
  "requiredApproval": {"type": "ALL"},
  "approvalNotification": {"type": "webhook", "format": "slack", "url": "https://hooks.slack.example/T0/B0/x"},
  "allowAnyoneToViewRuns": false,
  "invocationMethod": {"type": "KAFKA", "payload": {"run": "{{ .run.id }}", "to": "{{ .inputs.namespace }}"}}
}
"""
DROP_DB = r"""{
  "identifier": "drop_db",
  "trigger": {
    "type": "self-service", "operation": "DELETE", "blueprintIdentifier": "database",
    "userInputs": {
      "properties": {
        "confirm": {"type": "boolean", "default": false},
        "admin_pw": {"type": "string", "encryption": "aes256-gcm"},
        "break_glass": {"type": "object", "encryption": {"algorithm": "client-side", "key": "-----BEGIN PUBLIC KEY-----\nMIIB...\n-----END PUBLIC KEY-----"}}
      },
      "required": ["confirm", "admin_pw"]
    }
  },
  "requiredApproval": true,
  "invocationMethod": {"type": "WEBHOOK", "url": "https://ops.example.org/db", "agent": true, "synchronized": false}
}
"""

PECULIAR = r"""{
  "trigger": {"userInputs": {"properties": {
      "z": {"type": "number", "default": 1.0, "minimum": 1, "maximum": 1e2, "enum": [1, 1.0, 2.50, 0.1, -0.0, 1e-7]},
      "a": {"type": "array", "items": {}, "default": [], "enumColors": {}, "dependsOn": []},
      "big": {"type": "number", "default": 12345678901234567890, "x-limit": 9007199254740993},
      "new_key": {"type": "string", "title": "", "description": "", "x-ours": {"b": null, "a": [[], {}, null, ""]}},
      "text": {"type": "string", "default": "  \u00e4\ud83d\ude80 \\ \" / \t {{ not.a.template"}
    }, "required": [], "titles": {}, "order": []}, "operation": "DAY-2", "type": "self-service"},
  "publish": true,
  "requiredApproval": false,
  "allowAnyoneToViewRuns": true,
  "invocationMethod": {"headers": {}, "url": "https://hooks.example.org/é?a=1&b={{ .inputs.z }}", "type": "WEBHOOK",
    "body": {"b": 1.0, "a": 1, "nested": {"y": [], "x": {}, "w": null, "1": false}}, "synchronized": "{{ .inputs.a }}",
    "agent": false},
  "description": "",
  "title": "",
  "icon": "",
  "identifier": "Größe_1@a.b+c:d=e-f"
}
"""
"""Every oddity that a careless store loses: order, 1 against 1.0, empties, null, unknown keys of inputs, Unicode."""
