"""Pages and charts: HTML and SVG from templates, number formats, blocks that become HTML or Markdown. No content."""
