// Starts the viewer on the document of this edge.
"use strict";
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  // The document is checked where it is made; the default would send it to a validator on the internet.
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
