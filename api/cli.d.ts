// Written by scripts/api-report.mjs: `npm run api`. Not for compilers.
